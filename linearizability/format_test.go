package linearizability

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFormatIsDocumented: docs/history.md has every member that the reader knows,
// and no other.
func TestFormatIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/history.md")
	require.NoError(t, err)
	lines := map[string]any{
		"call": callLine{}, "return": returnLine{}, "change": changeLine{}, "watch": watchLine{}, "watched": watchedLine{},
		"complete": completeLine{}, "event": eventLine{}, "workload": workloadLine{},
		"compares": Compare{}, "reads": saw{},
		"steps": struct {
			Kind  Kind   `json:"kind"`
			Key   string `json:"key"`
			Value string `json:"value"`
		}{}, // the answers come with the return
	}
	for name, line := range lines {
		_, section, ok := strings.Cut(string(text), "\n### "+name+"\n")
		require.True(t, ok, "no section %s", name)
		section, _, _ = strings.Cut(section, "\n#")
		assert.ElementsMatch(t, members(reflect.TypeOf(line)), documented(section), name)
	}
}

func members(typ reflect.Type) []string {
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			out = append(out, members(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, name)
	}
	return out
}

var quoted = regexp.MustCompile("`([a-z_]+)`")

// documented are the names in the first column of a section's table.
func documented(section string) []string {
	var out []string
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// TestDocumentedExample: the lines in the document are read.
func TestDocumentedExample(t *testing.T) {
	text, err := os.ReadFile("../docs/history.md")
	require.NoError(t, err)
	_, example, _ := strings.Cut(string(text), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	h, err := ReadHistory(strings.NewReader(example))
	require.NoError(t, err)
	assert.Len(t, h.Ops, 2)
	assert.Len(t, h.Events, 1)
}

// TestEventfulRoundTrip: lines of every type come back as they were written.
func TestEventfulRoundTrip(t *testing.T) {
	text := `{"t":0,"type":"workload","name":"bank","keys":["b"],"total":3}` + eventful + eventfulLog
	var out strings.Builder
	require.NoError(t, parse(t, text).Write(&out))
	want := strings.Fields(strings.ReplaceAll(text, `"t":110`, `"t":101`)) // the log has the time of the last line
	assert.Subset(t, strings.Fields(out.String()), want)
	assert.Len(t, strings.Fields(out.String()), len(want))
}
