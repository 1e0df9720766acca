package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// metadataService is the address at which instances read their metadata. It stands in a network namespace of its own, whose only link is a TUN
// device: what instances send to the address is written to it, and what comes out is delivered to them. The namespace's kernel speaks TCP.
// Each connection is carried to the simulator, which learns who connected from a first line (PROXY protocol, version 1).
type metadataService struct {
	address  netip.Addr
	backend  string
	tun      *os.File
	listener net.Listener

	mu sync.Mutex
	// senders are the ENIs that the last packet from each address came from. VPCs may use the same addresses, so that an answer would
	// otherwise not be unique; two that use one address at the same time are not modelled.
	senders map[netip.Addr]string
}

const metadataDevice = "metadata0"

func newMetadataService(address netip.AddrPort, backend string) (*metadataService, error) {
	if !address.Addr().Is4() {
		return nil, fmt.Errorf("the metadata service needs an IPv4 address, not %s", address)
	}
	s := &metadataService{address: address.Addr(), backend: backend, senders: map[netip.Addr]string{}}
	started := make(chan error, 1)
	go func() {
		// Never unlocked, so the thread ends with the goroutine. Its namespace lives as long as the device and the listener.
		runtime.LockOSThread()
		started <- func() error {
			if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
				return fmt.Errorf("creating a network namespace: %w", err)
			}
			if err := s.openDevice(); err != nil {
				return err
			}
			var err error
			s.listener, err = net.Listen("tcp4", address.String())
			return err
		}()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("metadata service: %w", err)
	}
	return s, nil
}

// run serves the instances. It passes the packets for them to `answer`.
func (s *metadataService) run(answer func(packet []byte)) {
	go readFrames(s.tun, answer)
	for {
		client, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go s.carry(client)
		}
	}
}

// openDevice must be called in the namespace of the service.
func (s *metadataService) openDevice() error {
	var err error
	if s.tun, err = openTun(metadataDevice, syscall.IFF_TUN); err != nil {
		return err
	}
	index := linkIndex(metadataDevice)
	if err := setLink(index, nil, deviceMTU, true); err != nil {
		return err
	}
	if err := addAddress(index, netip.PrefixFrom(s.address, s.address.BitLen())); err != nil {
		return err
	}
	return addDefaultRoute(index, netip.Addr{})
}

// send passes a packet of an ENI to the service.
func (s *metadataService) send(from *eni, p *packet) {
	s.mu.Lock()
	s.senders[p.src] = from.ID
	s.mu.Unlock()
	// An error means that the kernel dropped the packet; TCP sends it again.
	_, _ = s.tun.Write(p.l3)
}

func (s *metadataService) senderAt(address netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.senders[address]
}

func (s *metadataService) carry(client net.Conn) {
	defer client.Close()
	backend, err := net.Dial("tcp", s.backend)
	if err != nil {
		fmt.Fprintf(os.Stderr, "metadata service: %v\n", err)
		return
	}
	defer backend.Close()
	from, to := client.RemoteAddr().(*net.TCPAddr), client.LocalAddr().(*net.TCPAddr)
	if _, err := fmt.Fprintf(backend, "PROXY TCP4 %s %s %d %d\r\n", from.IP, to.IP, from.Port, to.Port); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { copyOneWay(backend, client) })
	both.Go(func() { copyOneWay(client, backend) })
	both.Wait()
}

func copyOneWay(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// metadataAnswered delivers a packet of the metadata service to the ENI that asked.
func (f *forwarder) metadataAnswered(l3 []byte) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var p packet
	if !parse(ethernet(mac{}, routerMAC, 0, etherIPv4, l3), &p) {
		return
	}
	to := f.table.enis[f.metadata.senderAt(p.dst)]
	if to == nil || !to.Attached || !to.owns(p.dst) {
		return
	}
	f.deliver("", &p, f.delivery(verdictForwarded, nil, to, &p))
}
