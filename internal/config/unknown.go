package config

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// tag is the struct tag that names a field's key.
const tag = "toml"

// findUnknown adds a problem for each key that the type has no field for, in
// the tables below too.
func (d *Document) findUnknown(path string, values map[string]any, t reflect.Type) {
	known := fields(t)
	if len(known) == 0 {
		return // a scalar; that it got a table is another problem
	}
	for key, value := range values {
		if field, ok := known[key]; ok {
			d.findUnknownBelow(join(path, key), value, field)
			continue
		}
		d.add(join(path, key), d.unknownKey(key, known))
	}
}

func (d *Document) findUnknownBelow(path string, value any, t reflect.Type) {
	switch value := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct {
			d.findUnknown(path, value, t)
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for i, element := range value {
				d.findUnknownBelow(index(path, i), element, t.Elem())
			}
		}
	}
}

func (d *Document) unknownKey(key string, known map[string]reflect.Type) string {
	names := slices.Sorted(maps.Keys(known))
	if near := nearest(key, names); near != "" {
		return "unknown key; did you mean " + strconv.Quote(near) + "?"
	}
	return "unknown key; known here: " + strings.Join(names, ", ")
}

// fields are the keys of a struct with the types of their values, those of
// squashed structs among them.
func fields(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type)
	if t.Kind() != reflect.Struct {
		return out
	}
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get(tag), ",")
		switch {
		case options == "squash":
			maps.Copy(out, fields(field.Type))
		case name != "" && name != "-":
			out[name] = field.Type
		}
	}
	return out
}

// nearest is the name that a slip of the finger would make into key, or empty.
func nearest(key string, names []string) string {
	best, distance := "", 1+len(key)/3
	for _, name := range names {
		if d := edits(key, name); d <= distance && (best == "" || d < distance) {
			best, distance = name, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two short words.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
