package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/confman/confman/fsm"
)

// datetime reads Accept-Datetime (RFC 7089): f then reads the newest revision whose change
// was accepted at that time or before. An HTTP-date has no parts of a second: a change counts
// as of the second it was in, so that what Memento-Datetime says can be asked for again.
//
// A cursor that is read afterwards has its own revision: all pages of a walk show that of the
// first, though clients send the header with each.
func (c *call) datetime(f *freshness) error {
	lines := c.r.Header["Accept-Datetime"]
	if len(lines) == 0 {
		return nil
	}
	text, _ := single(lines)
	t, err := http.ParseTime(text)
	if err != nil {
		return invalidHeader("Accept-Datetime", "is "+quote(short(text))+", want a date such as "+quote(http.TimeFormat))
	}
	if f.past {
		return invalidParameter("revision", "contradicts Accept-Datetime: send one of them")
	}
	f.dated, f.moment = true, t.Add(time.Second-time.Nanosecond)
	return nil
}

// dateOf is when the change of the revision that v shows was accepted, 0 for the empty store.
func dateOf(v *fsm.View) (int64, error) {
	switch s := v.State(); v.Revision() {
	case 0:
		return 0, nil
	case s.Floor: // its line of the change log is compacted
		return s.FloorAt, nil
	}
	ch, err := v.Change(v.Revision())
	return ch.At, err
}

// memento says which state the answer to an Accept-Datetime shows, and where the same is
// found again (RFC 7089 §4.1.2: the resource is its own time gate).
func (c *call) memento(st standing) {
	h := c.w.Header()
	h["Memento-Datetime"] = []string{time.Unix(0, st.memento).UTC().Format(http.TimeFormat)}
	original := c.r.URL.RequestURI() // its query was parsed: it holds nothing to be escaped
	h["Link"] = []string{"<" + original + `>; rel="original timegate"`}
	separator := "?"
	if c.r.URL.RawQuery != "" {
		separator = "&"
	}
	h["Content-Location"] = []string{original + separator + "revision=" + strconv.FormatUint(uint64(st.revision), 10)}
}
