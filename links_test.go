package confman

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	inlineCode = regexp.MustCompile("`[^`]*`")
	link       = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^()\s]*\)`)
	heading    = regexp.MustCompile(`^#{1,6} (.*)$`)
)

// prose are the lines of a page that are no code, with empty ones in its place.
func prose(page string) []string {
	lines := strings.Split(page, "\n")
	fenced := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			fenced = !fenced
		}
		if fence || fenced || strings.HasPrefix(line, "    ") {
			lines[i] = ""
		}
	}
	return lines
}

// anchors are what a page's headings are linked by, as GitHub makes them.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, line := range prose(page) {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, linkText.ReplaceAllString(m[1], "$1"))
		name := slug
		for n := 1; all[name]; n++ {
			name = fmt.Sprintf("%s-%d", slug, n)
		}
		all[name] = true
	}
	return all
}

// broken are the links of the pages below root that lead nowhere, and how many links there are. Those
// to other places in the net are not followed.
func broken(t *testing.T, root string) (wrong []string, links int) {
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		page, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, line := range prose(string(page)) {
			for _, m := range link.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, "`code`"), -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				links++
				file, anchor, _ := strings.Cut(m[1], "#")
				target := page
				var err error
				if file != "" {
					to := filepath.Join(filepath.Dir(path), filepath.FromSlash(file))
					if _, err = os.Stat(to); err == nil && anchor != "" {
						target, err = os.ReadFile(to)
					}
				}
				if err != nil || anchor != "" && !anchors(string(target))[anchor] {
					wrong = append(wrong, fmt.Sprintf("%s:%d: %s", filepath.ToSlash(path), n+1, m[1]))
				}
			}
		}
		return nil
	}))
	return wrong, links
}

// TestLinksLeadSomewhere: what the pages link to is there, file and heading.
func TestLinksLeadSomewhere(t *testing.T) {
	wrong, links := broken(t, ".")
	assert.Empty(t, wrong)
	assert.Greater(t, links, 100, "the links were not found")
}

// TestLinksCanFail shows the check pages whose links do not fit.
func TestLinksCanFail(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "docs"), 0o750))
	for name, page := range map[string]string{
		"a.md": "# A page: `x` of [it](b.md)\n\n[1](docs/b.md#b-1) [2](docs) [3](docs/c.md) [4](#a-page-x-of-it) [5](#nothing)\n\n" +
			"    [6](code)\n\n`[7](code)` [8](https://example.org/x#y)\n",
		"docs/b.md": "# B\n## B\n\n```\n# C\n```\n[1](../a.md) [2](#c)\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(page), 0o600))
	}
	wrong, links := broken(t, root)
	for i := range wrong {
		wrong[i] = strings.TrimPrefix(wrong[i], filepath.ToSlash(root)+"/")
	}
	assert.Equal(t, []string{"a.md:1: b.md", "a.md:3: docs/c.md", "a.md:3: #nothing", "docs/b.md:7: #c"}, wrong)
	assert.Equal(t, 8, links)
}
