package main

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// The few changes to links, addresses and routes that the switch makes, through rtnetlink in the calling thread's namespace.

const addressNoDAD = 0x02 // IFA_F_NODAD: the cloud assigned the address, so it cannot be a duplicate

// setLink sets a link's MAC address and MTU, and brings it up if asked. A nil address stays as it is.
func setLink(index int, address *mac, mtu uint32, up bool) error {
	body := make([]byte, syscall.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	if up {
		binary.NativeEndian.PutUint32(body[8:], syscall.IFF_UP)
		binary.NativeEndian.PutUint32(body[12:], syscall.IFF_UP)
	}
	if address != nil {
		body = appendAttribute(body, syscall.IFLA_ADDRESS, address[:])
	}
	if mtu != 0 {
		body = appendAttribute(body, syscall.IFLA_MTU, binary.NativeEndian.AppendUint32(nil, mtu))
	}
	return netlink(syscall.RTM_NEWLINK, 0, body)
}

func addAddress(index int, prefix netip.Prefix) error {
	address := prefix.Addr().AsSlice()
	body := []byte{family(prefix.Addr()), uint8(prefix.Bits()), 0, syscall.RT_SCOPE_UNIVERSE}
	if prefix.Addr().Is6() {
		body[2] = addressNoDAD
	}
	body = binary.NativeEndian.AppendUint32(body, uint32(index))
	body = appendAttribute(body, syscall.IFA_LOCAL, address)
	body = appendAttribute(body, syscall.IFA_ADDRESS, address)
	return netlink(syscall.RTM_NEWADDR, syscall.NLM_F_CREATE|syscall.NLM_F_REPLACE, body)
}

// addDefaultRoute adds a default route through a gateway; without one, an IPv4 route to the link itself.
func addDefaultRoute(index int, gateway netip.Addr) error {
	body := make([]byte, syscall.SizeofRtMsg)
	body[0] = family(gateway)
	body[4] = syscall.RT_TABLE_MAIN
	body[5] = syscall.RTPROT_BOOT
	body[6] = syscall.RT_SCOPE_UNIVERSE
	body[7] = syscall.RTN_UNICAST
	if gateway.IsValid() {
		body = appendAttribute(body, syscall.RTA_GATEWAY, gateway.AsSlice())
	}
	body = appendAttribute(body, syscall.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))
	return netlink(syscall.RTM_NEWROUTE, syscall.NLM_F_CREATE|syscall.NLM_F_REPLACE, body)
}

func family(address netip.Addr) uint8 {
	if address.Is6() {
		return syscall.AF_INET6
	}
	return syscall.AF_INET
}

func appendAttribute(body []byte, kind uint16, value []byte) []byte {
	body = binary.NativeEndian.AppendUint16(body, uint16(4+len(value)))
	body = binary.NativeEndian.AppendUint16(body, kind)
	body = append(body, value...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return body
}

// netlink sends one request and waits for its acknowledgement.
func netlink(kind, flags uint16, body []byte) error {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	request := binary.NativeEndian.AppendUint32(nil, uint32(syscall.SizeofNlMsghdr+len(body)))
	request = binary.NativeEndian.AppendUint16(request, kind)
	request = binary.NativeEndian.AppendUint16(request, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK|flags)
	request = append(request, make([]byte, 8)...)
	request = append(request, body...)
	if err := syscall.Sendto(socket, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	response := make([]byte, 4096)
	length, _, err := syscall.Recvfrom(socket, response, 0)
	if err != nil {
		return err
	}
	if length < syscall.SizeofNlMsghdr+4 {
		return errors.New("short netlink response")
	}
	if code := int32(binary.NativeEndian.Uint32(response[syscall.SizeofNlMsghdr:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// linkIndex is 0 when the calling thread's namespace has no such link.
func linkIndex(name string) int {
	found, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return found.Index
}
