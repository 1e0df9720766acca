package main

import (
	"net/netip"
	"sync"
	"time"
)

// routerMAC is the address that every address of the VPC resolves to, and the source of every delivered frame.
var routerMAC = mac{0xee, 0xff, 0xff, 0xff, 0xff, 0xff}

var broadcastMAC = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// routerLinkLocal is the router's IPv6 link-local address, derived from its MAC address.
var routerLinkLocal = netip.MustParseAddr("fe80::ecff:ffff:feff:ffff")

// Reasons for refusing a frame. They must match protocol.ts.
const (
	reasonMalformed     = "malformed"
	reasonDoubleTag     = "double-tag"
	reasonUnknownVLAN   = "unknown-vlan"
	reasonNotAttached   = "not-attached"
	reasonSourceMAC     = "wrong-source-mac"
	reasonDestMAC       = "wrong-destination-mac"
	reasonSourceAddress = "wrong-source-address"
	reasonEtherType     = "unsupported-ether-type"
	reasonNotUnicast    = "not-unicast"
	reasonNeighbour     = "unknown-neighbour"
	reasonNoRoute       = "no-route"
	reasonUnknownDest   = "unknown-destination"
	reasonEgress        = "security-group-egress"
	reasonIngress       = "security-group-ingress"
	reasonFragment      = "fragment-without-first"
	reasonDeviceDown    = "device-down"
	reasonNoDevice      = "no-device"
)

const (
	verdictForwarded = "forwarded"
	verdictAnswered  = "answered"
	verdictIgnored   = "ignored"
	verdictRefused   = "refused"
)

// decision says what to do with a frame.
type decision struct {
	verdict string
	// reason, detail and peer explain a refusal. peer is the ENI at the other end.
	reason, detail string
	peer           *eni
	// from is the ENI that sent the frame, if known.
	from *eni
	// to and out are set when the frame must be delivered.
	to  *eni
	out []byte
	// toMetadata is true when the packet is for the metadata service.
	toMetadata bool
}

func refused(from *eni, reason, detail string) decision {
	return decision{verdict: verdictRefused, from: from, reason: reason, detail: detail}
}

// forwarder is the data path. Every frame is handled completely by one table before the next table applies.
type forwarder struct {
	mu      sync.RWMutex
	table   *table
	devices map[string]*device
	flows   *flowTable
	report  *reporter
	// metadata is nil without a metadata service.
	metadata *metadataService
}

// received handles one frame from the device of the ENI `deviceID`.
func (f *forwarder) received(deviceID string, frame []byte) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var p packet
	d := f.decide(deviceID, frame, &p)
	f.report.fromNode(deviceID, &p, frame, &d)
	if d.toMetadata {
		f.metadata.send(d.from, &p)
	}
	if d.out != nil {
		f.deliver(deviceID, &p, d)
	}
}

// deliver writes a frame to the receiver's device. The packet p came from the device of the ENI `deviceID`.
func (f *forwarder) deliver(deviceID string, p *packet, d decision) {
	var delivered packet
	parse(d.out, &delivered)
	target := f.devices[d.to.deviceID]
	if target == nil {
		d.reason = reasonNoDevice
	} else if err := target.write(d.out); err != nil {
		d.reason, d.detail = reasonDeviceDown, err.Error()
	}
	if d.reason != "" {
		d.peer = d.to
		f.report.refusal(deviceID, p, &d)
		return
	}
	f.report.toNode(&delivered, &d)
}

func (f *forwarder) decide(deviceID string, frame []byte, p *packet) decision {
	t := f.table
	sound := parse(frame, p)
	wire := t.enis[deviceID]
	if wire == nil {
		return refused(nil, reasonNotAttached, "")
	}
	from := wire
	switch {
	case p.doubleTag:
		return refused(nil, reasonDoubleTag, "")
	case p.tagged:
		from = t.members[memberKey{deviceID, p.vlan}]
		if from == nil {
			return refused(nil, reasonUnknownVLAN, "")
		}
	}
	if !from.Attached {
		return refused(from, reasonNotAttached, "the sender is "+from.Status)
	}
	if !sound {
		return refused(from, reasonMalformed, "")
	}
	if p.srcMAC != wire.mac {
		return refused(from, reasonSourceMAC, "")
	}
	switch p.etherType {
	case etherARP:
		return f.arp(from, wire, p)
	case etherIPv4, etherIPv6:
	default:
		return refused(from, reasonEtherType, "")
	}
	if p.proto == protoICMPv6 && p.isIP && p.firstPart && p.src.Is6() {
		if d, done := f.neighbourDiscovery(from, wire, p); done {
			return d
		}
	}
	if isHousekeeping(p) {
		return decision{verdict: verdictIgnored, from: from}
	}
	if !from.owns(p.src) {
		return refused(from, reasonSourceAddress, "")
	}
	if p.multicastDst || p.dstMAC[0]&1 != 0 && p.dstMAC != routerMAC {
		return refused(from, reasonNotUnicast, "")
	}
	if p.dstMAC != routerMAC {
		return refused(from, reasonDestMAC, "")
	}
	return f.route(from, p)
}

// route finds the ENI at the other end and checks the security groups.
func (f *forwarder) route(from *eni, p *packet) decision {
	if f.metadata != nil && p.dst == f.metadata.address {
		return decision{verdict: verdictForwarded, from: from, toMetadata: true}
	}
	to := from.vpc.owner(p.dst)
	if to == nil {
		if from.vpc.contains(p.dst) {
			return refused(from, reasonUnknownDest, "")
		}
		return refused(from, reasonNoRoute, "")
	}
	if !to.Attached {
		d := refused(from, reasonNotAttached, "the receiver is "+to.Status)
		d.peer = to
		return d
	}
	if reason, detail := f.flows.admit(p, from, to, time.Now()); reason != "" {
		d := refused(from, reason, detail)
		d.peer = to
		return d
	}
	return f.delivery(verdictForwarded, from, to, p)
}

func (f *forwarder) delivery(verdict string, from, to *eni, p *packet) decision {
	dst := to.mac
	if wire := f.table.enis[to.deviceID]; wire != nil {
		dst = wire.mac
	}
	return decision{verdict: verdict, from: from, to: to, out: p.retagged(dst, routerMAC, to.VlanID)}
}

// isHousekeeping is true for frames that every kernel sends on its own and that have no effect here: multicast membership, and
// DHCP, which the real cloud answers.
func isHousekeeping(p *packet) bool {
	if p.proto == protoIGMP {
		return true
	}
	return p.proto == protoUDP && p.firstPart && (p.sport == 68 && p.dport == 67 || p.sport == 546 && p.dport == 547)
}
