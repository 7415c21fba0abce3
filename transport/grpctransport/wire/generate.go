// Package wire is generated from wire.proto: `make generate`.
package wire
