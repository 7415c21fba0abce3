// Package faultpoint is where the program of make failpoint-build can be told to fail: docs/chaos.md lists the points and says
// what they can be told. In any other build its functions do nothing, are inlined, and leave no trace.
//
// A point is named by the directory of the package that has it, and by where in there it is: "wal/before-sync". For
// package failpoint the path of this package goes before that.
package faultpoint
