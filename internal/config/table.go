package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"

	"github.com/go-viper/mapstructure/v2"
)

// Table is one table of a document.
type Table struct {
	doc    *Document
	path   string
	values map[string]any
}

// Report adds a problem. The key is relative to the table; where it is empty
// the problem is the table's.
func (t *Table) Report(key, problem string) { t.doc.add(join(t.path, key), problem) }

// Text is the string at key, empty where there is none.
func (t *Table) Text(key string) string {
	text, _ := t.values[key].(string)
	return text
}

// Has reports whether the table has the key, whatever its value.
func (t *Table) Has(key string) bool {
	_, has := t.values[key]
	return has
}

// Cut takes an array of tables out of the table, so that each can be decoded
// into a type of its own.
func (t *Table) Cut(key string) []*Table {
	value, ok := t.values[key]
	if !ok {
		return nil
	}
	delete(t.values, key)
	path := join(t.path, key)
	elements, ok := value.([]any)
	if !ok {
		t.doc.add(path, mismatch(reflect.ValueOf(value), "an array of tables, [["+path+"]]").Error())
		return nil
	}
	tables := make([]*Table, 0, len(elements))
	for i, element := range elements {
		values, ok := element.(map[string]any)
		if !ok {
			t.doc.add(index(path, i), mismatch(reflect.ValueOf(element), "a table, [["+path+"]]").Error())
			continue
		}
		tables = append(tables, &Table{t.doc, index(path, i), values})
	}
	return tables
}

// Decode sets the fields of the struct that into points to, as far as the table
// has them; the others keep what they hold. Mistakes are added to the document.
func (t *Table) Decode(into any) {
	t.doc.findUnknown(t.path, t.values, reflect.TypeOf(into).Elem())
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:               into,
		RootName:             t.path,
		TagName:              tag,
		IgnoreUntaggedFields: true,
		ZeroFields:           true, // an array replaces the default, it does not extend it
		MatchName:            func(key, field string) bool { return key == field },
		DecodeHook:           t.doc.convert,
	})
	if err == nil {
		err = decoder.Decode(t.values)
	}
	t.doc.collect(t.path, err)
}

// collect adds each of the errors that mapstructure joins.
func (d *Document) collect(key string, err error) {
	switch err := err.(type) { //nolint:errorlint // this walks the tree that errors.As would search
	case nil:
	case *mapstructure.DecodeError:
		d.add(err.Name(), err.Unwrap().Error())
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			d.collect(key, err)
		}
	case interface{ Unwrap() error }:
		d.collect(key, err.Unwrap())
	default:
		d.add(key, err.Error())
	}
}

// convert is asked for every value before it is set. It refuses all that
// mapstructure would bend or refuse in words that are not for users.
func (d *Document) convert(from, to reflect.Value) (any, error) {
	if to.Type() == reflect.TypeFor[Secret]() {
		if from.Kind() != reflect.String {
			return nil, mismatch(from, `a string: the secret itself, "env:NAME" or "file:PATH"`)
		}
		return d.secret(from.String())
	}
	if scalar, ok := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(to.Type())); ok {
		if !isScalar(from) {
			return nil, mismatch(from, "a string in quotes")
		}
		return scalar, scalar.UnmarshalText(fmt.Append(nil, from.Interface()))
	}
	if want := wanted(from, to.Type()); want != "" {
		return nil, mismatch(from, want)
	}
	return from.Interface(), nil
}

func isScalar(v reflect.Value) bool {
	switch v.Kind() { //nolint:exhaustive // TOML has no others
	case reflect.String, reflect.Int64, reflect.Float64, reflect.Bool:
		return true
	default:
		return false
	}
}

// wanted says what would be right where from cannot become a to.
func wanted(from reflect.Value, to reflect.Type) string {
	var (
		kind reflect.Kind
		name string
	)
	switch to.Kind() { //nolint:exhaustive // configuration structs have no others
	case reflect.String:
		kind, name = reflect.String, "a string in quotes"
	case reflect.Bool:
		kind, name = reflect.Bool, "true or false"
	case reflect.Int, reflect.Int64:
		kind, name = reflect.Int64, "a whole number"
	case reflect.Struct:
		kind, name = reflect.Map, "a table"
	case reflect.Slice:
		kind, name = reflect.Slice, "an array"
		if to.Elem().Kind() == reflect.Struct {
			name = "an array of tables, each under its own [[header]]"
		}
	default:
		return ""
	}
	if from.Kind() == kind {
		return ""
	}
	return name
}

// mismatch names the kind that the value has, never the value: it may be a secret.
func mismatch(from reflect.Value, want string) error {
	return errors.New("is " + describe(from) + ", must be " + want)
}

func describe(v reflect.Value) string {
	switch v.Kind() { //nolint:exhaustive // TOML has no others
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number with a fraction"
	case reflect.Slice:
		return "an array"
	case reflect.Map:
		return "a table"
	default:
		return "a date or time"
	}
}
