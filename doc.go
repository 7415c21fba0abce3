// Package confman holds nothing but the tests of the house's plan: what may
// import what. The program is cmd/confman; ARCHITECTURE.md is the map.
package confman
