// Command confman is the product: a node of a cluster (serve), a cluster for
// trying out (dev), and the commands of its users.
//
// It wires packages and talks to people; what can be decided without a terminal,
// a process or a file tree is decided in package client.
package main
