package kumaawsiam

// The files in kuma/ import Kuma, so they are not compiled here. What can be checked without Kuma: they are Go, formatted,
// and use only what this package has.

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRegistrationIsFormattedGo(t *testing.T) {
	files, err := filepath.Glob("kuma/*.go.txt")
	if err != nil || len(files) != 3 {
		t.Fatalf("expected three files, got %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := format.Source(text)
		if err != nil || string(formatted) != string(text) {
			t.Errorf("%s is not formatted: %v", file, err)
		}
	}
}

func TestRegistrationUsesWhatThisPackageHas(t *testing.T) {
	for _, file := range []string{"kuma/control-plane-3.0.go.txt", "kuma/control-plane.go.txt"} {
		t.Run(file, func(t *testing.T) { usesWhatThisPackageHas(t, file) })
	}
}

func usesWhatThisPackageHas(t *testing.T, file string) {
	t.Helper()
	exported := exportedNames(t)
	registration, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]reflect.Type{
		"proxy":  reflect.TypeOf(Proxy{}),
		"denied": reflect.TypeOf(&DeniedError{}),
		"client": reflect.TypeOf(&Client{}),
	}
	used := 0
	ast.Inspect(registration, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		name := nameOf(selector.X)
		if name == "kumaawsiam" {
			used++
			if !exported[selector.Sel.Name] {
				t.Errorf("this package has no %s", selector.Sel.Name)
			}
		}
		if kind, ok := members[name]; ok && !hasMember(kind, selector.Sel.Name) {
			t.Errorf("%s has no %s", kind, selector.Sel.Name)
		}
		return true
	})
	if used == 0 {
		t.Fatal("the registration does not use this package")
	}
}

// nameOf returns the last name of an expression: client of a.client.
func nameOf(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	default:
		return ""
	}
}

func hasMember(kind reflect.Type, name string) bool {
	if _, ok := kind.MethodByName(name); ok {
		return true
	}
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	_, ok := kind.FieldByName(name)
	return ok
}

func exportedNames(t *testing.T) map[string]bool {
	t.Helper()
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(info os.FileInfo) bool {
		return !strings.HasSuffix(info.Name(), "_test.go")
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range packages["kumaawsiam"].Files {
		for name := range file.Scope.Objects {
			names[name] = ast.IsExported(name)
		}
	}
	return names
}
