package main

import (
	"encoding/binary"
	"net/netip"
)

type mac [6]byte

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	etherQinQ = 0x88a8

	protoICMP   = 1
	protoIGMP   = 2
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoICMPv6 = 58

	icmpv6EchoRequest          = 128
	icmpv6EchoReply            = 129
	icmpv6NeighborSolicitation = 135
	icmpv6NeighborAdvert       = 136
)

// tuple identifies a flow. For an ICMP echo both ports are the identifier; for other protocols they are zero.
type tuple struct {
	proto        uint8
	src, dst     netip.Addr
	sport, dport uint16
}

func (t tuple) reversed() tuple {
	return tuple{t.proto, t.dst, t.src, t.dport, t.sport}
}

// packet is a parsed frame. Slices point into the frame.
type packet struct {
	frame     []byte
	dstMAC    mac
	srcMAC    mac
	tagged    bool
	doubleTag bool
	vlan      uint16
	etherType uint16
	// l3 is everything after the Ethernet header and its tag.
	l3 []byte

	// isIP is true when the fields below are set.
	isIP bool
	tuple
	icmpType     uint8
	transport    []byte
	fragment     bool
	fragmentID   uint32
	firstPart    bool
	moreParts    bool
	multicastDst bool
}

// parse parses a frame. It returns false when the frame is too short or its IP header is invalid.
func parse(frame []byte, p *packet) bool {
	if len(frame) < 14 {
		return false
	}
	p.frame = frame
	copy(p.dstMAC[:], frame[0:6])
	copy(p.srcMAC[:], frame[6:12])
	p.etherType = binary.BigEndian.Uint16(frame[12:])
	p.l3 = frame[14:]
	if p.etherType == etherVLAN {
		if len(frame) < 18 {
			return false
		}
		p.tagged = true
		p.vlan = binary.BigEndian.Uint16(frame[14:]) & 0x0fff
		p.etherType = binary.BigEndian.Uint16(frame[16:])
		p.l3 = frame[18:]
		if p.etherType == etherVLAN || p.etherType == etherQinQ {
			p.doubleTag = true
			return true
		}
	}
	switch p.etherType {
	case etherIPv4:
		return p.parseIPv4()
	case etherIPv6:
		return p.parseIPv6()
	case etherARP:
		return len(p.l3) >= 28
	}
	return true
}

func (p *packet) parseIPv4() bool {
	h := p.l3
	if len(h) < 20 || h[0]>>4 != 4 {
		return false
	}
	headerLength := int(h[0]&15) * 4
	total := int(binary.BigEndian.Uint16(h[2:]))
	if headerLength < 20 || total < headerLength || total > len(h) {
		return false
	}
	p.isIP = true
	p.proto = h[9]
	p.src = netip.AddrFrom4([4]byte(h[12:16]))
	p.dst = netip.AddrFrom4([4]byte(h[16:20]))
	p.multicastDst = p.dst.IsMulticast() || p.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	flags := binary.BigEndian.Uint16(h[6:])
	offset := flags & 0x1fff
	p.moreParts = flags&0x2000 != 0
	p.fragment = p.moreParts || offset != 0
	p.firstPart = offset == 0
	p.fragmentID = uint32(binary.BigEndian.Uint16(h[4:]))
	return p.parseTransport(h[headerLength:total])
}

func (p *packet) parseIPv6() bool {
	h := p.l3
	if len(h) < 40 || h[0]>>4 != 6 {
		return false
	}
	length := int(binary.BigEndian.Uint16(h[4:]))
	if 40+length > len(h) {
		return false
	}
	p.isIP = true
	p.firstPart = true
	p.src = netip.AddrFrom16([16]byte(h[8:24]))
	p.dst = netip.AddrFrom16([16]byte(h[24:40]))
	p.multicastDst = p.dst.IsMulticast()
	next := h[6]
	rest := h[40 : 40+length]
	for {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(rest) < 8 {
				return false
			}
			size := (int(rest[1]) + 1) * 8
			if size > len(rest) {
				return false
			}
			next, rest = rest[0], rest[size:]
		case 44: // fragment
			if len(rest) < 8 {
				return false
			}
			field := binary.BigEndian.Uint16(rest[2:])
			p.fragment = true
			p.firstPart = field>>3 == 0
			p.moreParts = field&1 != 0
			p.fragmentID = binary.BigEndian.Uint32(rest[4:])
			next, rest = rest[0], rest[8:]
			if !p.firstPart {
				p.proto = next
				return true
			}
		default:
			p.proto = next
			return p.parseTransport(rest)
		}
	}
}

// parseTransport reads the ports, or the identifier of an echo, from the first fragment of a packet.
func (p *packet) parseTransport(body []byte) bool {
	p.transport = body
	if !p.firstPart {
		return true
	}
	switch p.proto {
	case protoTCP, protoUDP:
		if len(body) < 8 {
			return false
		}
		p.sport = binary.BigEndian.Uint16(body[0:])
		p.dport = binary.BigEndian.Uint16(body[2:])
	case protoICMP, protoICMPv6:
		if len(body) < 4 {
			return false
		}
		p.icmpType = body[0]
		if isEcho(p.proto, p.icmpType) {
			if len(body) < 8 {
				return false
			}
			p.sport = binary.BigEndian.Uint16(body[4:])
			p.dport = p.sport
		}
	}
	return true
}

func isEcho(proto, icmpType uint8) bool {
	if proto == protoICMP {
		return icmpType == 0 || icmpType == 8
	}
	return icmpType == icmpv6EchoRequest || icmpType == icmpv6EchoReply
}

// embedded returns the tuple of the packet that an ICMP error is about.
func (p *packet) embedded() (tuple, bool) {
	if len(p.transport) < 8 {
		return tuple{}, false
	}
	inner := packet{l3: p.transport[8:]}
	switch {
	case p.proto == protoICMP && (p.icmpType == 3 || p.icmpType == 4 || p.icmpType == 11 || p.icmpType == 12):
		h := inner.l3
		if len(h) < 28 || h[0]>>4 != 4 || len(h) < int(h[0]&15)*4+8 {
			return tuple{}, false
		}
		// The inner packet may be truncated, so its length field cannot be checked.
		inner.proto, inner.firstPart = h[9], true
		inner.src, inner.dst = netip.AddrFrom4([4]byte(h[12:16])), netip.AddrFrom4([4]byte(h[16:20]))
		ok := inner.parseTransport(h[int(h[0]&15)*4:])
		return inner.tuple, ok
	case p.proto == protoICMPv6 && p.icmpType >= 1 && p.icmpType <= 4:
		h := inner.l3
		if len(h) < 48 || h[0]>>4 != 6 {
			return tuple{}, false
		}
		inner.proto, inner.firstPart = h[6], true
		inner.src, inner.dst = netip.AddrFrom16([16]byte(h[8:24])), netip.AddrFrom16([16]byte(h[24:40]))
		ok := inner.parseTransport(h[40:])
		return inner.tuple, ok
	}
	return tuple{}, false
}

// retagged returns the frame with new MAC addresses and the given tag. VLAN id 0 means no tag.
func (p *packet) retagged(dst, src mac, vlan uint16) []byte {
	return ethernet(dst, src, vlan, p.etherType, p.l3)
}

func ethernet(dst, src mac, vlan, etherType uint16, payload []byte) []byte {
	out := make([]byte, 0, 18+len(payload))
	out = append(out, dst[:]...)
	out = append(out, src[:]...)
	if vlan != 0 {
		out = binary.BigEndian.AppendUint16(out, etherVLAN)
		out = binary.BigEndian.AppendUint16(out, vlan)
	}
	out = binary.BigEndian.AppendUint16(out, etherType)
	return append(out, payload...)
}
