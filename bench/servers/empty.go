package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/julienschmidt/httprouter"
)

// emptyVariable makes this program the empty handler; it holds what that answers.
const emptyVariable = "BENCH_EMPTY_HANDLER"

// emptyAnswer is what the empty handler answers with, and where.
type emptyAnswer struct {
	Addr, Path string
	Header     http.Header
	Body       []byte
}

// Empty is a process of this program that answers what is below path as another server answered a URL: net/http and httprouter,
// and nothing else. It is how fast a server of this kind can be here.
func Empty(ctx context.Context, dir, path, url string) (*Cluster, error) {
	status, header, body, err := ask(ctx, http.MethodGet, url, "")
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("what the empty handler is to answer: status %d: %w", status, err)
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	header.Del("Date") // net/http adds it
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	text, err := json.Marshal(emptyAnswer{addr, path, header, body})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	return &Cluster{
		Product: "empty handler",
		Nodes: []*Node{{
			Process: &Process{line: []string{self}, env: []string{emptyVariable + "=" + string(text)}, log: filepath.Join(dir, "empty.log")},
			Name:    "empty", Addr: addr,
		}},
		fresh: func(ctx context.Context, addr string) (bool, error) {
			status, _, _, err := ask(ctx, http.MethodGet, "http://"+addr+path+"x", "")
			return status == http.StatusOK, err
		},
	}, nil
}

// ServeEmpty is the process of Empty; it returns at once if this is another one.
func ServeEmpty() error {
	text, ok := os.LookupEnv(emptyVariable)
	if !ok {
		return nil
	}
	var answer emptyAnswer
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return err
	}
	server := http.Server{Addr: answer.Addr, Handler: answer.handler(), ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

func (answer *emptyAnswer) handler() http.Handler {
	router := httprouter.New()
	router.GET(answer.Path+"*path", func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		h := w.Header()
		for name, values := range answer.Header {
			h[name] = values
		}
		_, _ = w.Write(answer.Body) // the client checks
	})
	return router
}
