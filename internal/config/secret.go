package config

import (
	"errors"
	"fmt"
	"strings"
)

// secret resolves what stands for a secret in a document: "env:NAME",
// "file:PATH", or the secret itself. No error shows a value.
func (d *Document) secret(written string) (Secret, error) {
	if name, ok := strings.CutPrefix(written, "env:"); ok {
		return d.secretFromEnv(name)
	}
	if path, ok := strings.CutPrefix(written, "file:"); ok {
		return d.secretFromFile(path)
	}
	return NewSecret(written), nil
}

func (d *Document) secretFromEnv(name string) (Secret, error) {
	if name == "" {
		return Secret{}, errors.New(`names no variable; write "env:NAME"`)
	}
	value, ok := d.options.Env(name)
	switch {
	case !ok:
		return Secret{}, fmt.Errorf("the environment variable %s is not set; set it to the secret", name)
	case value == "":
		return Secret{}, fmt.Errorf("the environment variable %s is empty; set it to the secret", name)
	}
	return NewSecret(value), nil
}

func (d *Document) secretFromFile(path string) (Secret, error) {
	if path == "" {
		return Secret{}, errors.New(`names no file; write "file:PATH"`)
	}
	path = d.Path(path)
	content, err := d.options.ReadFile(path)
	if err != nil {
		return Secret{}, fmt.Errorf("its file cannot be read: %w; the file must hold the secret alone", err)
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return Secret{}, fmt.Errorf("the file %s is empty; it must hold the secret alone", path)
	}
	return NewSecret(value), nil
}
