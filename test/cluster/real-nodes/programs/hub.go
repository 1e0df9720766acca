package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// runHub connects the nodes with the machine. It starts in an empty network namespace, which lives as long as this process.
// With -bridge it creates a bridge there for the nodes. Without, the owner connects the namespace with the nodes.
//
//   - Connections of nodes to the API server arrive in this namespace and are dialled in the machine's.
//   - Connections of the API server to nodes come through a proxy (HTTP CONNECT on a Unix socket, the API server's egress
//     selector) and are dialled here. Only loopback addresses are dialled on the machine.
func runHub(args []string) error {
	flags := flag.NewFlagSet("hub", flag.ContinueOnError)
	bridge := flags.String("bridge", "", "name of the bridge; empty for none")
	bridgeAddress := flags.String("bridge-address", "", "ADDRESS/PREFIX of the bridge")
	machineNamespace := flags.String("machine-namespace", "", "path of the machine's network namespace")
	listenAddress := flags.String("listen", "", "address of the API server for nodes; its interface may come later")
	apiServer := flags.String("api-server", "", "address of the API server in the machine's namespace")
	proxySocket := flags.String("proxy-socket", "", "path of the Unix socket for the API server")
	if err := flags.Parse(args); err != nil {
		return err
	}
	batch := "link set lo up\n"
	if *bridge != "" {
		batch += fmt.Sprintf("link add %[1]s type bridge\naddr add %[2]s dev %[1]s\nlink set %[1]s up\n", *bridge, *bridgeAddress)
	}
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(batch)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip -batch: %w: %s", err, output)
	}
	machine, err := openNamespace(*machineNamespace)
	if err != nil {
		return err
	}
	hub, err := openNamespace("/proc/self/ns/net")
	if err != nil {
		return err
	}
	listener, err := hub.listen(*listenAddress)
	if err != nil {
		return err
	}
	if err := os.Remove(*proxySocket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	proxy, err := net.Listen("unix", *proxySocket)
	if err != nil {
		return err
	}
	go acceptEach(listener, func(client net.Conn) {
		server, err := machine.dial(*apiServer)
		if err != nil {
			// The API server is restarting. The client will try again.
			client.Close()
			return
		}
		carry(client, client, server)
	})
	go acceptEach(proxy, func(client net.Conn) { serveConnect(client, hub, machine) })
	fmt.Println("ready")
	return waitForOwner()
}

func serveConnect(client net.Conn, hub, machine *namespace) {
	reader := bufio.NewReader(client)
	request, err := http.ReadRequest(reader)
	if err != nil || request.Method != http.MethodConnect {
		fmt.Fprint(client, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
		client.Close()
		return
	}
	target := hub
	if host, _, err := net.SplitHostPort(request.Host); err == nil && net.ParseIP(host).IsLoopback() {
		target = machine
	}
	connection, err := target.dial(request.Host)
	if err != nil {
		message := strings.ReplaceAll(err.Error(), "\n", " ")
		fmt.Fprintf(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n%s", len(message), message)
		client.Close()
		return
	}
	fmt.Fprint(client, "HTTP/1.1 200 Connection Established\r\n\r\n")
	carry(client, reader, connection)
}
