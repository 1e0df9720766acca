package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const (
	deviceMTU   = 1500
	longestName = 16
	tunSetIff   = 0x400454ca
)

// device is the TAP device of one ENI in its node's network namespace.
type device struct {
	eniID     string
	netnsPath string
	mac       mac
	name      string
	file      *os.File
	closing   atomic.Bool
	// ended is closed when reading from the device has stopped.
	ended chan struct{}
}

// openDevice creates the device of an ENI. That of a primary ENI is eth0; others get the lowest free number from 1.
func openDevice(t *table, e *eni, node nodeEntry) (*device, error) {
	d := &device{eniID: e.ID, netnsPath: node.NetnsPath, mac: e.mac, ended: make(chan struct{})}
	err := inNamespace(node.NetnsPath, func() error {
		d.name = "eth0"
		for n := 1; e.Kind != "primary"; n++ {
			d.name = fmt.Sprintf("eth%d", n)
			if linkIndex(d.name) == 0 {
				break
			}
		}
		if linkIndex(d.name) != 0 {
			return errors.New("a device with this name already exists: rename the node's other link")
		}
		var err error
		if d.file, err = openTun(d.name, syscall.IFF_TAP); err != nil {
			return err
		}
		if err := configure(t, e, d.name, node.ConfigurePrimary); err != nil {
			d.file.Close()
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("device %s of %s: %w", d.name, e.ID, err)
	}
	return d, nil
}

// openTun creates a TUN or TAP device in the calling thread's namespace.
func openTun(name string, kind uint16) (*os.File, error) {
	descriptor, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	var request [40]byte
	copy(request[:longestName-1], name)
	*(*uint16)(unsafe.Pointer(&request[longestName])) = kind | syscall.IFF_NO_PI
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(descriptor), tunSetIff, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		syscall.Close(descriptor)
		return nil, fmt.Errorf("TUNSETIFF: %w", errno)
	}
	// Not earlier: a descriptor without its device cannot be polled.
	return os.NewFile(uintptr(descriptor), "tun "+name), nil
}

func configure(t *table, e *eni, name string, withAddress bool) error {
	index := linkIndex(name)
	primary := e.Kind == "primary"
	if err := setLink(index, &e.mac, deviceMTU, primary); err != nil {
		return fmt.Errorf("setting the MAC address: %w", err)
	}
	if !primary || !withAddress {
		return nil
	}
	vSwitch := t.vSwitches[e.VSwitchID]
	seen := map[bool]bool{}
	for _, address := range e.Addresses {
		// Only the first address of each family. The others are for the node's pods.
		if seen[address.Is6()] {
			continue
		}
		seen[address.Is6()] = true
		for _, cidr := range vSwitch.Cidrs {
			if cidr.Contains(address) {
				if err := addAddress(index, netip.PrefixFrom(address, cidr.Bits())); err != nil {
					return fmt.Errorf("adding %s: %w", address, err)
				}
			}
		}
	}
	for _, gateway := range vSwitch.Gateways {
		if !seen[gateway.Is6()] {
			continue
		}
		if err := addDefaultRoute(index, gateway); err != nil {
			return fmt.Errorf("adding the route by %s: %w", gateway, err)
		}
	}
	return nil
}

// read passes every frame to `handle` until the device is closed or its namespace is gone.
func (d *device) read(handle func([]byte)) {
	defer close(d.ended)
	readFrames(d.file, handle)
}

// readFrames passes what is read from a TUN or TAP device to `handle` until the device is gone.
func readFrames(device *os.File, handle func([]byte)) {
	buffer := make([]byte, 65536)
	for {
		length, err := device.Read(buffer)
		if errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EAGAIN) {
			continue
		}
		if err != nil {
			return
		}
		handle(buffer[:length])
	}
}

// write delivers one frame to the node. It fails when the device is down or gone.
func (d *device) write(frame []byte) error {
	_, err := d.file.Write(frame)
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// close removes the device from the node. It is gone when close returns.
func (d *device) close() {
	d.closing.Store(true)
	d.file.Close()
	<-d.ended
}
