package config

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines knows on which line each key and each table header stands. A key is
// written as in problems: smtp.listener[1].tls.
type lines map[string]int

// of gives the line of the key, or where it is missing that of the nearest
// table around it.
func (l lines) of(key string) int {
	for key != "" {
		if line, ok := l[key]; ok {
			return line
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 1
}

// read goes through a document that is known to be valid.
func (l lines) read(data []byte) {
	var (
		parser unstable.Parser
		counts = map[string]int{} // tables so far in each array of tables
		table  string
	)
	parser.Reset(data)
	for parser.NextExpression() {
		switch node := parser.Expression(); node.Kind { //nolint:exhaustive // the rest are comments
		case unstable.Table:
			table = l.header(data, node, counts)
		case unstable.ArrayTable:
			array := l.header(data, node, counts)
			table = index(array, counts[array])
			l[table] = line(data, last(node.Key()))
			counts[array]++
		case unstable.KeyValue:
			l.keyValue(data, table, node)
		default:
		}
	}
}

// header notes a table's name, in which every array of tables but the last is
// meant by its latest element.
func (l lines) header(data []byte, node *unstable.Node, counts map[string]int) string {
	path := ""
	for key := node.Key(); key.Next(); {
		if n := counts[path]; n > 0 {
			path = index(path, n-1)
		}
		path = join(path, string(key.Node().Data))
		l.note(path, line(data, key.Node()))
	}
	if n := counts[path]; n > 0 && node.Kind == unstable.Table {
		path = index(path, n-1)
	}
	return path
}

func (l lines) keyValue(data []byte, table string, node *unstable.Node) {
	path := table
	for key := node.Key(); key.Next(); {
		path = join(path, string(key.Node().Data))
		l.note(path, line(data, key.Node()))
	}
	l.value(data, path, node.Value())
}

// value goes into inline tables and arrays of them.
func (l lines) value(data []byte, path string, node *unstable.Node) {
	switch node.Kind { //nolint:exhaustive // a scalar stands on the line of its key, or of its array
	case unstable.InlineTable:
		for child := node.Children(); child.Next(); {
			l.keyValue(data, path, child.Node())
		}
	case unstable.Array:
		i := 0
		for child := node.Children(); child.Next(); i++ {
			l.value(data, index(path, i), child.Node())
		}
	default:
	}
}

// note keeps the first line on which a name appears.
func (l lines) note(path string, line int) {
	if _, ok := l[path]; !ok {
		l[path] = line
	}
}

func last(key unstable.Iterator) *unstable.Node {
	var node *unstable.Node
	for key.Next() {
		node = key.Node()
	}
	return node
}

func line(data []byte, node *unstable.Node) int {
	return 1 + bytes.Count(data[:node.Raw.Offset], []byte{'\n'})
}

func join(path, key string) string {
	if path == "" || key == "" {
		return path + key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
