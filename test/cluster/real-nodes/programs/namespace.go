package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const dialTimeout = 10 * time.Second

// namespace is an open network namespace. A socket belongs to the namespace of the thread that creates it, and stays there
// when the thread moves on.
type namespace struct{ file *os.File }

func openNamespace(path string) (*namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &namespace{file}, nil
}

// run calls f on a thread in the namespace. f must not create sockets in other goroutines.
func (n *namespace) run(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked, so the runtime ends the thread with the goroutine and does not reuse it in the wrong namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("setns %s: %w", n.file.Name(), err)
			return
		}
		result <- f()
	}()
	return <-result
}

func (n *namespace) listen(address string) (listener net.Listener, err error) {
	err = n.run(func() error {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	return listener, err
}

func (n *namespace) dial(address string) (connection net.Conn, err error) {
	err = n.run(func() error {
		connection, err = net.DialTimeout("tcp4", address, dialTimeout)
		return err
	})
	return connection, err
}
