// Package smtpbridge_test holds what the files of the repository promise each
// other: who imports whom, and that image, manifests, scripts and documents
// agree with the code.
package smtpbridge_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "smtpbridge"

// layer is a package, or a pattern of path.Match for several, and what it may
// import of ours.
type layer struct {
	pkg string
	may []string
	// because is why it may import no more: what a ban protects.
	because string
}

// scalars is the package that every other may import: config's Duration, Size
// and Secret, which lean on nothing.
const scalars = "internal/config"

// layers has a row for each package. A package takes the first row that fits.
var layers = []layer{
	{
		pkg:     "translate",
		because: "a mail means the same whoever carries it: the model knows neither providers nor sessions",
	},
	{
		pkg:     "events",
		because: "what an event means is the same whoever reports it and wherever it is kept",
	},
	{
		pkg:     "events/forward",
		may:     []string{"events"},
		because: "who passes events on changes none and decides nothing about mail",
	},
	{
		pkg:     "providers",
		may:     []string{"translate"},
		because: "the contract of all providers knows none of them, no HTTP client and no SMTP",
	},
	{
		pkg:     "providers/httpapi",
		may:     []string{"providers", "translate"},
		because: "what is the same for every HTTP API must not know one of them, nor who asks",
	},
	{
		pkg:     "providers/delivery",
		may:     []string{"providers", "translate"},
		because: "the pipeline sees providers through its own interface, and is told of nothing by a store or a session",
	},
	{
		pkg:     "providers/*test",
		may:     []string{"events", "providers", "providers/httpapi", "translate"},
		because: "what every provider must pass cannot know one of them",
	},
	{
		pkg:     "providers/*/*test",
		because: "a fake is made after the provider's manual: from our own code it would take over our mistakes",
	},
	{
		pkg:     "providers/*",
		may:     []string{"events", "providers", "providers/httpapi", "translate"},
		because: "a provider is whole in its folder: another one, the pipeline or a session is not its business",
	},
	{
		pkg:     "smtpd",
		may:     []string{"providers", "translate"},
		because: "a session hands a message on through its own interface and turns an outcome into a reply; who delivers, and how, is not its business",
	},
	{
		pkg:     scalars,
		because: "any package may import it, for its scalars",
	},
	{
		pkg:     "internal/store",
		may:     []string{"events", "providers", "providers/delivery"},
		because: "the store keeps the records of others and decides nothing",
	},
	{
		pkg:     "internal/store/storetest",
		may:     []string{"events", "providers", "providers/delivery"},
		because: "what every database must pass cannot know one of them",
	},
	{
		pkg:     "internal/store/postgrestest",
		because: "a server for tests is one for whoever asks, of the store or of forwarding",
	},
	{
		pkg:     "internal/admin",
		may:     []string{"events", "events/forward", "internal/store", "providers", "providers/delivery"},
		because: "the pages show what is, through the types of those who know it, and change nothing",
	},
	{
		pkg:     "internal/alerts",
		may:     []string{"providers"},
		because: "who tells of failures must not be able to cause one: it sees errors, nothing else",
	},
	{
		pkg:     "internal/load",
		because: "the bridge under load is a process: what the tests measure must not share their memory",
	},
	{
		pkg: "internal/app",
		may: []string{
			"events", "events/forward", "internal/admin", "internal/alerts", "internal/store", "providers", "providers/delivery",
			"providers/httpapi", "providers/mailgun", "providers/postmark", "providers/sandbox", "providers/sendgrid",
			"providers/ses", "providers/smtp2go", "smtpd", "translate",
		},
		because: "the wiring knows all but the commands, and is the only place that lists the provider types",
	},
	{
		pkg:     "cmd/bridge",
		may:     []string{"events", "internal/app"},
		because: "a command starts the application; wiring in a command is wiring that no test starts",
	},
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range packages(t) {
		if p.dir == "." {
			continue // tests only, of the whole
		}
		rule, found := ruleFor(p.dir)
		if !found {
			t.Errorf("%s stands in no layer; decide what it may import and why no more", p.dir)
			continue
		}
		for _, imported := range p.imports() {
			if imported != scalars && !slices.Contains(rule.may, imported) {
				t.Errorf("%s imports %s: %s", p.dir, imported, rule.because)
			}
		}
	}
}

func TestLayersExist(t *testing.T) {
	all := packages(t)
	for _, rule := range layers {
		if strings.Contains(rule.pkg, "*") {
			continue // room for the next one
		}
		if !slices.ContainsFunc(all, func(p pkg) bool { return p.dir == rule.pkg }) {
			t.Errorf("layer %s: there is no such package", rule.pkg)
		}
	}
}

// What is made for tests drags testing and its flags into the binary.
func TestProductionImportsNoTestPackage(t *testing.T) {
	for _, p := range packages(t) {
		if isTestPackage(p.dir) {
			continue
		}
		for _, imported := range p.imports() {
			if isTestPackage(imported) {
				t.Errorf("%s imports %s outside its tests: test helpers do not belong in the binary", p.dir, imported)
			}
		}
	}
}

func TestEachPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		files := p.production
		if len(files) == 0 {
			files = p.tests
		}
		var comments []string
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if files[name].Doc != nil {
				comments = append(comments, name)
			}
		}
		if len(comments) != 1 {
			t.Errorf("%s has %d package comments %v, want one: it says the package's job", p.dir, len(comments), comments)
		}
	}
}

// An init runs before anything is passed in, in an order that nobody reads.
func TestNoInitFunctions(t *testing.T) {
	for _, p := range packages(t) {
		for _, files := range []map[string]*ast.File{p.production, p.tests} {
			for name, file := range files {
				if declaresInit(file) {
					t.Errorf("%s has an init function; build what it makes where it is used, and pass it in", name)
				}
			}
		}
	}
}

// pkg is one directory of Go files, parsed, by file name.
type pkg struct {
	dir               string
	production, tests map[string]*ast.File
}

// packages are those of the module, by directory.
func packages(t *testing.T) []pkg {
	t.Helper()
	byDir := make(map[string]pkg)
	files := token.NewFileSet()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != "." && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".")) {
			return fs.SkipDir
		}
		if entry.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(files, filepath.FromSlash(name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if _, known := byDir[dir]; !known {
			byDir[dir] = pkg{dir, make(map[string]*ast.File), make(map[string]*ast.File)}
		}
		if strings.HasSuffix(name, "_test.go") {
			byDir[dir].tests[name] = file
		} else {
			byDir[dir].production[name] = file
		}
		return nil
	})
	if err != nil {
		t.Fatalf("reading the module: %v", err)
	}
	return slices.SortedFunc(maps.Values(byDir), func(a, b pkg) int { return strings.Compare(a.dir, b.dir) })
}

// imports are the packages of ours that the production code imports.
func (p pkg) imports() []string {
	seen := make(map[string]bool)
	for _, file := range p.production {
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has accepted it
			}
			if ours, found := strings.CutPrefix(imported, module+"/"); found {
				seen[ours] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func ruleFor(dir string) (layer, bool) {
	for _, rule := range layers {
		if fits, err := path.Match(rule.pkg, dir); err == nil && fits {
			return rule, true
		}
	}
	return layer{}, false
}

func isTestPackage(dir string) bool { return strings.HasSuffix(dir, "test") }

func declaresInit(file *ast.File) bool {
	return slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
		f, isFunc := d.(*ast.FuncDecl)
		return isFunc && f.Recv == nil && f.Name.Name == "init"
	})
}
