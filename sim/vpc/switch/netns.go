package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// setnsNumber is the system call; the syscall package names it on some architectures only.
var setnsNumber = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// inNamespace runs `work` on its own thread inside the network namespace at `path`. It refuses the machine's own namespace, which
// the simulation must not touch.
func inNamespace(path string, work func() error) error {
	if setnsNumber == 0 {
		return errors.New("network namespaces are not supported on " + runtime.GOARCH)
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked, so the thread ends with the goroutine and its namespace.
		runtime.LockOSThread()
		done <- func() error {
			namespace, err := os.Open(path)
			if err != nil {
				return err
			}
			defer namespace.Close()
			own, err := isForbidden(namespace)
			if err != nil {
				return err
			}
			if own {
				return fmt.Errorf("%s is the machine's own network namespace", path)
			}
			if _, _, errno := syscall.RawSyscall(setnsNumber, namespace.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
				return fmt.Errorf("entering %s: %w", path, errno)
			}
			return work()
		}()
	}()
	return <-done
}

// forbidden lists the namespaces of this process at its start and of the machine's process 1.
var forbidden []syscall.Stat_t

func init() {
	// Reserves the first thread for the main goroutine. That thread cannot end, so it must never enter another namespace.
	runtime.LockOSThread()
	for _, path := range []string{"/proc/self/ns/net", "/proc/1/ns/net"} {
		var found syscall.Stat_t
		if err := syscall.Stat(path, &found); err == nil {
			forbidden = append(forbidden, found)
		}
	}
}

func isForbidden(namespace *os.File) (bool, error) {
	var wanted syscall.Stat_t
	if err := syscall.Fstat(int(namespace.Fd()), &wanted); err != nil {
		return false, err
	}
	for _, own := range forbidden {
		if own.Dev == wanted.Dev && own.Ino == wanted.Ino {
			return true, nil
		}
	}
	return false, nil
}
