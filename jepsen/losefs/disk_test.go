package losefs_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/jepsen/losefs"
)

// TestLosePower does the same steps in many directories: what is left is always one of what may be, and each of what must be
// possible is left at some time.
func TestLosePower(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, steps string
		may         string   // a pattern of all that may be left
		must        []string // what is left at some time
		o           losefs.Options
	}{
		{
			name: "what is synced is certain", steps: "create f\nwrite f 0 ab\nsync f\nsyncdir .",
			may: "f=ab", must: []string{"f=ab"},
		},
		{
			name: "an appended piece is there, or not, or zeros, or torn off", steps: "create f\nwrite f 0 a\nsync f\nsyncdir .\nwrite f 1 b",
			may: "f=a(|b|0|~)", must: []string{"f=a", "f=ab", "f=a0", "f=a~"},
		},
		{
			name: "of what was overwritten any subset is lost", steps: "create f\nwrite f 0 abc\nsync f\nsyncdir .\nwrite f 0 xyz",
			may: "f=[ax][by][cz]", must: []string{"f=abc", "f=xyz", "f=xbc", "f=abz"},
		},
		{
			name: "a piece is as it was at the last sync, however often it was written", steps: "create f\nwrite f 0 a\nsync f\nsyncdir .\nwrite f 0 b\nwrite f 0 c",
			may: "f=[ac]", must: []string{"f=a", "f=c"},
		},
		{
			name: "a file that was cut is as it was, or short", steps: "create f\nwrite f 0 abc\nsync f\nsyncdir .\ntruncate f 1",
			may: "f=a(|~|[b0](|~|[c0]))", must: []string{"f=a", "f=abc"},
		},
		{
			name: "an allocated file has its length once it was synced", steps: "create f\nallocate f 3\nsync f\nsyncdir .\nwrite f 0 ab",
			may: "f=[a0][b0]0", must: []string{"f=000", "f=ab0", "f=0b0"},
		},
		{
			name: "a name is lost although the file is synced", steps: "create f\nwrite f 0 a\nsync f",
			may: "(f=a)?", must: []string{"", "f=a"},
		},
		{
			name: "unless the disk is as kind as ext4", steps: "create f\nwrite f 0 a\nsync f",
			may: "f=a", o: losefs.Options{KeepNames: true},
		},
		{
			name: "a name is kept although the content is lost", steps: "create f\nsyncdir .\nwrite f 0 a",
			may: "f=(|a|0|~)", must: []string{"f=", "f=a", "f=0"},
		},
		{
			name: "a rename is undone, and what it replaced is back", steps: "create f\nwrite f 0 a\nsync f\ncreate g\nwrite g 0 b\nsync g\nsyncdir .\nrename g f",
			may: "(f=a g=b|f=b)", must: []string{"f=a g=b", "f=b"},
		},
		{
			name: "a synced rename is never undone", steps: "create f\nwrite f 0 a\nsync f\ncreate g\nwrite g 0 b\nsync g\nrename g f\nsyncdir .",
			may: "f=b",
		},
		{
			name: "a removed file is back", steps: "create f\nwrite f 0 a\nsync f\nsyncdir .\nremove f",
			may: "(f=a)?", must: []string{"", "f=a"},
		},
		{
			name: "changes of one name are lost from the newest on", steps: "create f\nwrite f 0 a\nsync f\nrename f g\nrename g h",
			may: "([fgh]=a)?", must: []string{"", "f=a", "g=a", "h=a"},
		},
		{
			name: "changes of different names are lost in any order", steps: "create f\nsync f\ncreate g\nsync g",
			may: "(f=)?( ?g=)?", must: []string{"", "f=", "g=", "f= g="},
		},
		{
			name: "a directory is lost with what it holds", steps: "mkdir d\ncreate d/f\nsync d/f\nsyncdir d",
			may: "(d/ d/f=)?", must: []string{"", "d/ d/f="},
		},
		{
			name: "a directory is renamed or not, its names stay", steps: "mkdir d\ncreate d/f\nsync d/f\nsyncdir d\nsyncdir .\nrename d e",
			may: "(d/ d/f=|e/ e/f=)", must: []string{"d/ d/f=", "e/ e/f="},
		},
		{
			name: "a removed directory is back, with what was in it or not", steps: "mkdir d\ncreate d/f\nsync d/f\nsyncdir d\nsyncdir .\nremove d/f\nrmdir d",
			may: "(d/( d/f=)?)?", must: []string{"", "d/", "d/ d/f="},
		},
		{
			name: "a sync that failed has lost its pages for later ones", steps: "create f\nwrite f 0 ab\nsync f\nsyncdir .\nwrite f 0 x\nsyncs-fail\nfails sync f\nsound\nwrite f 1 y\nsync f",
			may: "f=[ax]y", must: []string{"f=ay", "f=xy"},
		},
		{
			name: "unless they were written again", steps: "create f\nwrite f 0 ab\nsync f\nsyncdir .\nwrite f 0 x\nsyncs-fail\nfails sync f\nsound\nwrite f 0 y\nsync f",
			may: "f=yb",
		},
		{
			name: "of a sector that is torn a part is lost, and nothing of what was synced", steps: "create f\nwrite f 0 abc\nsync f\nsyncdir .\nwrite f 1 y",
			may: "f=a[by?]c", must: []string{"f=abc", "f=ayc", "f=a?c"}, o: losefs.Options{Torn: true},
		},
		{
			name: "a file that is written anew is empty, old or new", steps: "create f\nwrite f 0 a\nsync f\nsyncdir .\nclose f\nreplace f\nwrite f 0 b",
			may: "f=(|[ab0]|~)", must: []string{"f=", "f=a", "f=b"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.o)
			for i := range tries {
				require.NoError(t, os.Mkdir(filepath.Join(r.disk.Files(), strconv.Itoa(i)), 0o700))
			}
			r.mount()
			for i := range tries {
				r.steps(strconv.Itoa(i), c.steps)
			}
			r.losePower()
			seen := map[string]int{}
			for i := range tries {
				got := r.holds(strconv.Itoa(i))
				seen[got]++
				require.Regexp(t, "^"+c.may+"$", got)
			}
			for _, x := range c.must {
				assert.Contains(t, seen, x)
			}
		})
	}
}

// tries are so many that what has a chance of one in twenty happens in one of them; they are always the same ones.
const tries = 120
