package main

import (
	"encoding/binary"
	"net/netip"
)

// arp answers a request for any address of the VPC with the router's MAC address. It does not answer gratuitous ARP or a probe for
// the sender's own address.
func (f *forwarder) arp(from, wire *eni, p *packet) decision {
	body := p.l3
	operation := binary.BigEndian.Uint16(body[6:])
	sender := mac(body[8:14])
	senderAddress := netip.AddrFrom4([4]byte(body[14:18]))
	target := netip.AddrFrom4([4]byte(body[24:28]))
	p.src, p.dst = senderAddress, target
	if binary.BigEndian.Uint16(body[0:]) != 1 || binary.BigEndian.Uint16(body[2:]) != etherIPv4 {
		return refused(from, reasonMalformed, "not ARP for IPv4 on Ethernet")
	}
	if sender != wire.mac {
		return refused(from, reasonSourceMAC, "ARP sender")
	}
	if operation != 1 || target == senderAddress || from.owns(target) {
		return decision{verdict: verdictIgnored, from: from}
	}
	if !from.vpc.contains(target) {
		return refused(from, reasonNeighbour, "")
	}
	if p.dstMAC != broadcastMAC && p.dstMAC != routerMAC {
		return refused(from, reasonDestMAC, "")
	}
	reply := make([]byte, 28)
	copy(reply, body[:6])
	binary.BigEndian.PutUint16(reply[6:], 2)
	copy(reply[8:], routerMAC[:])
	copy(reply[14:], body[24:28])
	copy(reply[18:], wire.mac[:])
	copy(reply[24:], body[14:18])
	return decision{
		verdict: verdictAnswered, from: from, to: from,
		out: ethernet(wire.mac, routerMAC, from.VlanID, etherARP, reply),
	}
}

// neighbourDiscovery answers solicitations and ignores other link-local IPv6 messages. It returns false for anything else.
func (f *forwarder) neighbourDiscovery(from, wire *eni, p *packet) (decision, bool) {
	ignored := decision{verdict: verdictIgnored, from: from}
	switch p.icmpType {
	case 130, 131, 132, 133, 134, 137, 143, icmpv6NeighborAdvert:
		// Multicast listeners, router solicitation and advertisement, redirect: nothing here uses them.
		return ignored, true
	case icmpv6NeighborSolicitation:
	default:
		return decision{}, false
	}
	if len(p.transport) < 24 {
		return refused(from, reasonMalformed, ""), true
	}
	target := netip.AddrFrom16([16]byte(p.transport[8:24]))
	if p.src.IsUnspecified() || from.owns(target) {
		return ignored, true
	}
	if !p.src.IsLinkLocalUnicast() && !from.owns(p.src) {
		return refused(from, reasonSourceAddress, ""), true
	}
	if target != routerLinkLocal && !from.vpc.contains(target) {
		return refused(from, reasonNeighbour, "for "+target.String()), true
	}
	isRouter := target == routerLinkLocal || from.vpc.gateways[target]
	return decision{
		verdict: verdictAnswered, from: from, to: from,
		out: ethernet(wire.mac, routerMAC, from.VlanID, etherIPv6, neighborAdvertisement(target, p.src, isRouter)),
	}, true
}

func neighborAdvertisement(target, to netip.Addr, isRouter bool) []byte {
	out := make([]byte, 40+32)
	out[0] = 0x60
	binary.BigEndian.PutUint16(out[4:], 32)
	out[6], out[7] = protoICMPv6, 255
	copy(out[8:], target.AsSlice())
	copy(out[24:], to.AsSlice())
	body := out[40:]
	body[0] = icmpv6NeighborAdvert
	body[4] = 0x60 // solicited, override
	if isRouter {
		body[4] |= 0x80
	}
	copy(body[8:], target.AsSlice())
	body[24], body[25] = 2, 1 // target link-layer address
	copy(body[26:], routerMAC[:])
	binary.BigEndian.PutUint16(body[2:], checksum6(out[8:40], protoICMPv6, body))
	return out
}

// checksum6 is the Internet checksum with the IPv6 pseudo-header; `addresses` are source and destination.
func checksum6(addresses []byte, proto uint8, body []byte) uint16 {
	sum := uint32(proto) + uint32(len(body))
	for _, part := range [][]byte{addresses, body} {
		for i := 0; i < len(part); i += 2 {
			word := uint32(part[i]) << 8
			if i+1 < len(part) {
				word |= uint32(part[i+1])
			}
			sum += word
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
