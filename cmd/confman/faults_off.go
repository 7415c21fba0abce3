//go:build !failpoints

package main

import "time"

// wallClock is what time it is. Only make failpoint-build makes a program in which it can be told to be wrong.
func wallClock() time.Time { return time.Now() }
