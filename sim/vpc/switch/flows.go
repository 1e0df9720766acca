package main

import (
	"sync"
	"time"
)

// How long an idle flow is remembered. 910 s is documented for sessions; the others are assumed.
const (
	tcpIdle      = 910 * time.Second
	otherIdle    = 60 * time.Second
	fragmentIdle = 30 * time.Second
	expireEvery  = 5 * time.Second
	// A flood of new flows must not use up the machine's memory. Beyond this limit each packet is judged on its own.
	maxFlows = 200_000
)

type flowKey struct {
	vpcID string
	tuple
}

// flow is a conversation that the security groups of both ends have allowed to begin.
type flow struct {
	// first is the tuple of its first packet.
	first              flowKey
	fromID, toID       string
	fromPlace, toPlace string
	lastSeen           time.Time
}

type fragmentKey struct {
	eniID string
	tuple
	id uint32
}

type fragmentVerdict struct {
	passed   bool
	lastSeen time.Time
}

// flowTable stores each flow under the tuples of both directions.
type flowTable struct {
	mu        sync.Mutex
	flows     map[flowKey]*flow
	fragments map[fragmentKey]fragmentVerdict
}

func newFlowTable() *flowTable {
	return &flowTable{flows: map[flowKey]*flow{}, fragments: map[fragmentKey]fragmentVerdict{}}
}

// admit decides whether a packet may pass from one ENI to another. A refusal names the side and the rule.
func (f *flowTable) admit(p *packet, from, to *eni, now time.Time) (reason, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fragments := fragmentKey{from.ID, tuple{proto: p.proto, src: p.src, dst: p.dst}, p.fragmentID}
	if p.fragment && !p.firstPart {
		verdict, known := f.fragments[fragments]
		switch {
		case !known:
			return reasonFragment, ""
		case !verdict.passed:
			return reasonFragment, "its first part was refused"
		}
		f.fragments[fragments] = fragmentVerdict{true, now}
		return "", ""
	}
	reason, detail = f.judge(p, from, to, now)
	if p.fragment {
		f.fragments[fragments] = fragmentVerdict{reason == "", now}
	}
	return reason, detail
}

func (f *flowTable) judge(p *packet, from, to *eni, now time.Time) (reason, detail string) {
	key := flowKey{from.vpc.id, p.tuple}
	if known := f.flows[key]; known != nil {
		if known.alive(now) && known.joins(key, from, to) {
			known.lastSeen = now
			return "", ""
		}
		f.remove(known)
	}
	if inner, ok := p.embedded(); ok {
		// An error about a packet that the receiver of the error sent within a flow.
		known := f.flows[flowKey{from.vpc.id, inner}]
		if known != nil && known.alive(now) && inner.src == p.dst && (known.fromID == to.ID || known.toID == to.ID) {
			return "", ""
		}
	}
	if ok, why := allowed(true, from, to, p.tuple); !ok {
		return reasonEgress, why
	}
	if ok, why := allowed(false, to, from, p.tuple); !ok {
		return reasonIngress, why
	}
	if len(f.flows) < 2*maxFlows && !p.isICMPError() {
		begun := &flow{
			first: key, fromID: from.ID, toID: to.ID,
			fromPlace: from.place(), toPlace: to.place(), lastSeen: now,
		}
		f.flows[key] = begun
		f.flows[flowKey{key.vpcID, key.reversed()}] = begun
	}
	return "", ""
}

func (p *packet) isICMPError() bool {
	return (p.proto == protoICMP || p.proto == protoICMPv6) && !isEcho(p.proto, p.icmpType)
}

func (f *flow) alive(now time.Time) bool {
	idle := otherIdle
	if f.first.proto == protoTCP {
		idle = tcpIdle
	}
	return now.Sub(f.lastSeen) < idle
}

// joins is false when an address of the flow now belongs to another ENI.
func (f *flow) joins(key flowKey, from, to *eni) bool {
	if key == f.first {
		return f.fromID == from.ID && f.toID == to.ID
	}
	return f.fromID == to.ID && f.toID == from.ID
}

func (f *flowTable) remove(gone *flow) {
	delete(f.flows, gone.first)
	delete(f.flows, flowKey{gone.first.vpcID, gone.first.reversed()})
}

// revise ends flows whose ENIs are gone, have moved or have lost the address, and flows that the current rules would not allow to begin.
func (f *flowTable) revise(t *table) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, known := range f.flows {
		if key != known.first {
			continue
		}
		from, to := t.enis[known.fromID], t.enis[known.toID]
		if from == nil || to == nil || from.place() != known.fromPlace || to.place() != known.toPlace ||
			!from.owns(key.src) || !to.owns(key.dst) {
			f.remove(known)
			continue
		}
		out, _ := allowed(true, from, to, key.tuple)
		in, _ := allowed(false, to, from, key.tuple)
		if !out || !in {
			f.remove(known)
		}
	}
}

func (f *flowTable) expire(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, known := range f.flows {
		if !known.alive(now) {
			f.remove(known)
		}
	}
	for key, verdict := range f.fragments {
		if now.Sub(verdict.lastSeen) > fragmentIdle {
			delete(f.fragments, key)
		}
	}
}

func (f *flowTable) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flows) / 2
}
