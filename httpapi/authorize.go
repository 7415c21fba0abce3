package httpapi

import "github.com/confman/confman/fsm"

// need says what the caller must be allowed to do. A handler says so before it reads or writes.
func (c *call) need(verbs fsm.Verbs, path string) { c.needs = fsm.Need{Verbs: verbs, Path: path} }
