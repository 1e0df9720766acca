// The parts of a real node that TypeScript cannot be: what enters namespaces, is process 1 of a node, or has sockets in
// two network namespaces at once. One program, selected by its first argument; everything that can be decided elsewhere
// is, and comes as flags or as a configuration.
package main

import (
	"fmt"
	"os"
	"runtime"
)

// In init, because only there the main goroutine is sure to run on the main thread. No other goroutine gets that thread
// then, which two things depend on: its network namespace is what /proc/PID/ns/net names, so it must stay where it is;
// and the process that it starts gets a signal when it ends, which must be when the program does.
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
