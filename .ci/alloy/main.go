// Parses configurations of Grafana Alloy, and compares them with what `alloy fmt` would write.
//
// It knows the language, not the components: a misspelt attribute passes.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func check(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(path, text)
	if err != nil {
		return err
	}
	var formatted bytes.Buffer
	if err := printer.Fprint(&formatted, file); err != nil {
		return err
	}
	formatted.WriteByte('\n')
	if !bytes.Equal(text, formatted.Bytes()) {
		return fmt.Errorf("%s: not formatted; it should be\n%s", path, formatted.Bytes())
	}
	return nil
}
