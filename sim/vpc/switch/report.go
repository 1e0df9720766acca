package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// repeatEvery is how often an ongoing refusal is written again, with its count.
	repeatEvery = 250 * time.Millisecond
	// maxKinds limits how many different refusals of one reason and ENI are written within repeatEvery.
	maxKinds    = 100
	queueLength = 8192
)

type frameInfo struct {
	Eni       string `json:"eni"`
	Device    string `json:"device"`
	Vlan      int    `json:"vlan"`
	SrcMAC    string `json:"srcMac"`
	DstMAC    string `json:"dstMac"`
	EtherType int    `json:"etherType"`
	Src       string `json:"src"`
	Dst       string `json:"dst"`
	Protocol  int    `json:"protocol"`
	SrcPort   int    `json:"srcPort"`
	DstPort   int    `json:"dstPort"`
	IcmpType  int    `json:"icmpType"`
	Length    int    `json:"length"`
}

type frameEvent struct {
	Type      string `json:"type"`
	Capture   int64  `json:"capture"`
	Direction string `json:"direction"`
	Verdict   string `json:"verdict"`
	Reason    string `json:"reason"`
	frameInfo
}

type refusalEvent struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Peer   string `json:"peer"`
	Count  int64  `json:"count"`
	frameInfo
}

type refusalKey struct {
	reason, eni, device, peer string
	vlan                      int
	src, dst                  string
	protocol, dstPort         int
}

type limitKey struct{ reason, eni, device string }

type pendingRefusal struct {
	event   refusalEvent
	waiting int64
	written time.Time
}

type capture struct {
	id  int64
	eni string
}

// eniCounters count frames. Those of a member are its own; those of a trunk are the untagged ones.
type eniCounters struct {
	FromNode int64 `json:"fromNode"`
	ToNode   int64 `json:"toNode"`
	Refused  int64 `json:"refused"`
}

// reporter writes one JSON object per line. The data path never waits for the reader: when the queue is full, captured frames are
// dropped and counted.
type reporter struct {
	lines      chan []byte
	captures   atomic.Pointer[[]capture]
	lostFrames atomic.Int64

	mu       sync.Mutex
	pending  map[refusalKey]*pendingRefusal
	kinds    map[limitKey]int
	verdicts map[string]int64
	reasons  map[string]int64
	perEni   map[string]*eniCounters
}

func newReporter(out io.Writer) *reporter {
	r := &reporter{
		lines: make(chan []byte, queueLength), pending: map[refusalKey]*pendingRefusal{}, kinds: map[limitKey]int{},
		verdicts: map[string]int64{}, reasons: map[string]int64{}, perEni: map[string]*eniCounters{},
	}
	r.captures.Store(&[]capture{})
	go func() {
		writer := bufio.NewWriterSize(out, 1<<16)
		for line := range r.lines {
			writer.Write(line)
			if len(r.lines) == 0 {
				writer.Flush()
			}
		}
	}()
	return r
}

// send writes an event that must not be lost.
func (r *reporter) send(event any) {
	r.lines <- encode(event)
}

func encode(event any) []byte {
	line, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	return append(line, '\n')
}

func (r *reporter) fromNode(deviceID string, p *packet, frame []byte, d *decision) {
	id := ""
	if d.from != nil {
		id = d.from.ID
	}
	r.mu.Lock()
	r.verdicts[d.verdict]++
	if id != "" {
		r.counters(id).FromNode++
	}
	r.mu.Unlock()
	if d.verdict == verdictRefused {
		r.refusal(deviceID, p, d)
	}
	r.captured("fromNode", describe(id, deviceID, p, len(frame)), d)
}

func (r *reporter) toNode(p *packet, d *decision) {
	r.mu.Lock()
	r.counters(d.to.ID).ToNode++
	r.mu.Unlock()
	r.captured("toNode", describe(d.to.ID, d.to.deviceID, p, len(d.out)), d)
}

// counters must be called with the lock held.
func (r *reporter) counters(eniID string) *eniCounters {
	found := r.perEni[eniID]
	if found == nil {
		found = &eniCounters{}
		r.perEni[eniID] = found
	}
	return found
}

func (r *reporter) captured(direction string, info frameInfo, d *decision) {
	for _, c := range *r.captures.Load() {
		if c.eni != "" && c.eni != info.Eni && c.eni != info.Device {
			continue
		}
		event := frameEvent{"frame", c.id, direction, d.verdict, d.reason, info}
		select {
		case r.lines <- encode(event):
		default:
			r.lostFrames.Add(1)
		}
	}
}

// refusal writes the first refusal of its kind at once, and those that follow within repeatEvery as a count.
func (r *reporter) refusal(deviceID string, p *packet, d *decision) {
	event := refusalEvent{Type: "refusal", Reason: d.reason, Detail: d.detail}
	id := ""
	if d.from != nil {
		id = d.from.ID
	}
	if d.peer != nil {
		event.Peer = d.peer.ID
	}
	event.frameInfo = describe(id, deviceID, p, len(p.frame))
	key := refusalKey{
		d.reason, id, deviceID, event.Peer, event.Vlan, event.Src, event.Dst, event.Protocol, event.DstPort,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons[d.reason]++
	if id != "" {
		r.counters(id).Refused++
	}
	if known := r.pending[key]; known != nil {
		known.event = event
		known.waiting++
		return
	}
	limit := limitKey{d.reason, id, deviceID}
	if r.kinds[limit] >= maxKinds {
		// Refusals beyond the limit appear only in the counters.
		return
	}
	r.kinds[limit]++
	r.pending[key] = &pendingRefusal{written: time.Now()}
	event.Count = 1
	r.offer(event)
}

func (r *reporter) offer(event any) {
	select {
	case r.lines <- encode(event):
	default:
		r.lostFrames.Add(1)
	}
}

// tick writes counts that have waited long enough. It must be called every repeatEvery.
func (r *reporter) tick(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, known := range r.pending {
		if now.Sub(known.written) < repeatEvery {
			continue
		}
		if known.waiting == 0 {
			delete(r.pending, key)
			limit := limitKey{key.reason, key.eni, key.device}
			if r.kinds[limit]--; r.kinds[limit] <= 0 {
				delete(r.kinds, limit)
			}
			continue
		}
		known.event.Count = known.waiting
		known.waiting, known.written = 0, now
		r.offer(known.event)
	}
}

func describe(eniID, deviceID string, p *packet, length int) frameInfo {
	info := frameInfo{
		Eni: eniID, Device: deviceID, SrcMAC: macText(p.srcMAC), DstMAC: macText(p.dstMAC),
		EtherType: int(p.etherType), Src: addressText(p.src), Dst: addressText(p.dst),
		Protocol: int(p.proto), SrcPort: int(p.sport), DstPort: int(p.dport), IcmpType: int(p.icmpType), Length: length,
	}
	if p.tagged {
		info.Vlan = int(p.vlan)
	}
	return info
}

func macText(m mac) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
