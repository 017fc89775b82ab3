// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var unixEpoch = time.Unix(0, 0)

func TestFind(t *testing.T) {
	root := t.TempDir()
	first, second := filepath.Join(root, "first"), filepath.Join(root, "second")
	for _, d := range []string{"first/both", "second/both", "second/only", "elsewhere/real"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"first/linked": "../elsewhere/real", "way": "elsewhere"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(first, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(second + "/only")
	paths := []string{first, second}
	for name, tt := range map[string]struct {
		ref   string
		paths []string
		dir   string
		err   string
	}{
		"first path wins":    {"both", paths, first + "/both", ""},
		"later path":         {"only", paths, second + "/only", ""},
		"absolute path":      {second + "/only", nil, second + "/only", ""},
		"path is cleaned":    {second + "/../second//only/", nil, second + "/only", ""},
		"here":               {".", nil, second + "/only", ""},
		"above":              {"..", nil, second, ""},
		"relative path":      {"../both", nil, second + "/both", ""},
		"path by a link":     {root + "/way/real", nil, root + "/elsewhere/real", ""},
		"nowhere":            {"gone", paths, "", `no skill "gone": looked in "` + first + `", "` + second + `"`},
		"no paths":           {"gone", nil, "", "no skill paths are configured; give the folder's path, such as ./gone"},
		"name is a link":     {"linked", paths, "", "it is a symbolic link"},
		"name is a file":     {"file", paths, "", "it is not a folder"},
		"path is missing":    {"./gone", nil, "", "no such file"},
		"path is a file":     {first + "/file", nil, "", "it is not a folder"},
		"relative in paths":  {"only", []string{"second"}, "", `skill path "second" is not absolute`},
		"empty":              {"", paths, "", "the name is empty"},
		"dots in a name":     {"a..b", paths, "", `'.' is not a lower-case letter`},
		"newline":            {"a\nb", paths, "", `"a\nb" is not a skill's name: '\n'`},
		"escape":             {"\x1b[31mred", paths, "", `"\x1b[31mred"`},
		"NUL":                {"a\x00/b", paths, "", `"a\x00/b": there is a NUL byte`},
		"upper case":         {"Both", paths, "", `'B' is not`},
		"65 characters":      {strings.Repeat("a", 65), paths, "", "it has 65 bytes, at most 64"},
		"a megabyte":         {strings.Repeat("a", 1<<20), paths, "", "1048576 bytes"},
		"control in a path":  {"./a\x1b[2J\nb", nil, "", `"./a\x1b[2J\nb": no such file`},
		"not one's language": {"caf\u00e9", paths, "", "'é' is not"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := Find(tt.ref, tt.paths)
			if tt.err == "" {
				if err != nil || dir != tt.dir {
					t.Fatalf("got %q, %v; want %q", dir, err, tt.dir)
				}
				return
			}
			if err == nil || dir != "" || !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %q, %v; want an error with %q", dir, err, tt.err)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n\x00") || len(err.Error()) > 1000 {
				t.Errorf("the error is raw or long: %q", err)
			}
		})
	}
}
