package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// runForward carries TCP from an address in one network namespace to an address in another. It ends when its standard
// input closes, which happens when its owner ends.
func runForward(args []string) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	listenNamespace := flags.String("listen-namespace", "/proc/self/ns/net", "")
	listenAddress := flags.String("listen", "", "ADDRESS:PORT; port 0 chooses one")
	dialNamespace := flags.String("dial-namespace", "/proc/self/ns/net", "")
	dialAddress := flags.String("dial", "", "ADDRESS:PORT")
	if err := flags.Parse(args); err != nil {
		return err
	}
	from, err := openNamespace(*listenNamespace)
	if err != nil {
		return err
	}
	to, err := openNamespace(*dialNamespace)
	if err != nil {
		return err
	}
	listener, err := from.listen(*listenAddress)
	if err != nil {
		return err
	}
	go acceptEach(listener, func(client net.Conn) {
		target, err := to.dial(*dialAddress)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			client.Close()
			return
		}
		carry(client, client, target)
	})
	fmt.Println(listener.Addr())
	return waitForOwner()
}

// acceptEach serves every connection in its own goroutine until the listener is closed.
func acceptEach(listener net.Listener, serve func(net.Conn)) {
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go serve(connection)
		}
	}
}

// carry copies in both directions until both have ended, and then closes both. `fromClient` may hold bytes of `client` that
// were already read.
func carry(client net.Conn, fromClient io.Reader, target net.Conn) {
	var both sync.WaitGroup
	copyOneWay := func(to net.Conn, from io.Reader) {
		defer both.Done()
		io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}
	both.Add(2)
	go copyOneWay(target, fromClient)
	go copyOneWay(client, target)
	both.Wait()
	client.Close()
	target.Close()
}

// waitForOwner returns when standard input closes. It is a pipe whose other end only the owner has.
func waitForOwner() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
