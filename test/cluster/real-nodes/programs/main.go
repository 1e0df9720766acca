// The parts of a real node that cannot be written in TypeScript: code that enters namespaces, is process 1 of a node, or
// has sockets in two network namespaces at once. One program, whose first argument selects the part. As much
// as possible is decided elsewhere and arrives as flags or configuration.
package main

import (
	"fmt"
	"os"
	"runtime"
)

// This is an init function because only init is sure to run on the main thread. It keeps other goroutines off that thread,
// for two reasons: /proc/PID/ns/net shows the network namespace of the main thread, so that thread must not move; and the
// child that it starts gets a signal when this thread ends, which must not be before the program ends.
func init() {
	runtime.LockOSThread()
}

func main() {
	commands := map[string]func([]string) error{
		"hub":     runHub,
		"forward": runForward,
		"machine": runMachine,
		"init":    runInit,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: node-machine hub|forward|machine|init …; it is started by test/cluster/real-nodes")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "node-machine %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
