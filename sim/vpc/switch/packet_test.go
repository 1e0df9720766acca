package main

import (
	"encoding/binary"
	"io"
	"math/rand"
	"net/netip"
	"testing"
	"time"
)

var (
	trunkMAC = mac{0, 0x16, 0x3e, 0, 0, 1}
	memberIP = netip.MustParseAddr("10.1.0.1")
	peerIP   = netip.MustParseAddr("10.1.0.2")
)

// twoMembers returns a table with two members of a basic group on one trunk.
func twoMembers(t testing.TB) *table {
	t.Helper()
	cidr := netip.MustParsePrefix("10.0.0.0/8")
	member := func(id string, vlan uint16, ip netip.Addr) eniEntry {
		return eniEntry{
			ID: id, Kind: "member", Attached: true, Plugged: true, TrunkID: "eni-trunk", VlanID: vlan,
			Mac: "00:16:3e:00:00:02", VpcID: "vpc", Addresses: []netip.Addr{ip}, SecurityGroupIDs: []string{"sg"},
		}
	}
	built, err := buildTable(1, &tableMessage{
		Vpcs:           []vpcEntry{{ID: "vpc", Cidrs: []netip.Prefix{cidr}}},
		SecurityGroups: []securityGroupEntry{{ID: "sg", InnerAccess: true}},
		Enis: []eniEntry{
			{
				ID: "eni-trunk", Kind: "trunk", Attached: true, Plugged: true, Mac: "00:16:3e:00:00:01", VpcID: "vpc",
				Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.9")},
			},
			member("eni-one", 1, memberIP), member("eni-two", 2, peerIP),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func newForwarder(t testing.TB) *forwarder {
	return &forwarder{table: twoMembers(t), devices: map[string]*device{}, flows: newFlowTable(), report: newReporter(io.Discard)}
}

func frame4(vlan uint16, proto uint8, body []byte) []byte {
	head := make([]byte, 20)
	head[0], head[8], head[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(head[2:], uint16(20+len(body)))
	copy(head[12:], memberIP.AsSlice())
	copy(head[16:], peerIP.AsSlice())
	return ethernet(routerMAC, trunkMAC, vlan, etherIPv4, append(head, body...))
}

func frame6(vlan uint16, next uint8, body []byte) []byte {
	head := make([]byte, 40)
	head[0], head[6], head[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(head[4:], uint16(len(body)))
	return ethernet(routerMAC, trunkMAC, vlan, etherIPv6, append(head, body...))
}

func arpFrame(vlan uint16) []byte {
	body := make([]byte, 28)
	copy(body, []byte{0, 1, 8, 0, 6, 4, 0, 1})
	copy(body[8:], trunkMAC[:])
	return ethernet(broadcastMAC, trunkMAC, vlan, etherARP, body)
}

// The switch must survive any frame that a node sends.
func TestMutilatedFramesDoNoHarm(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	f := newForwarder(t)
	unreachable := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, frame4(0, protoUDP, make([]byte, 8))[14:]...)
	solicitation := make([]byte, 32)
	solicitation[0] = icmpv6NeighborSolicitation
	seeds := [][]byte{
		frame4(1, protoUDP, make([]byte, 16)), frame4(2, protoTCP, make([]byte, 40)),
		frame4(1, protoICMP, []byte{8, 0, 0, 0, 0, 7, 0, 1}), frame4(1, protoICMP, unreachable),
		frame6(1, protoICMPv6, solicitation), frame6(1, 44, make([]byte, 24)), frame6(1, 0, make([]byte, 24)),
		frame6(1, protoICMPv6, append([]byte{1, 4, 0, 0, 0, 0, 0, 0}, frame6(0, protoUDP, make([]byte, 8))[14:]...)),
		arpFrame(1), arpFrame(0), {}, make([]byte, 13),
	}
	verdicts := map[string]int{}
	for round := 0; round < 200_000; round++ {
		frame := append([]byte{}, seeds[random.Intn(len(seeds))]...)
		for changes := random.Intn(4); changes > 0 && len(frame) > 0; changes-- {
			frame[random.Intn(len(frame))] = byte(random.Intn(256))
		}
		if random.Intn(4) == 0 {
			frame = frame[:random.Intn(len(frame)+1)]
		}
		var p packet
		d := f.decide("eni-trunk", frame, &p)
		verdicts[d.verdict]++
		if d.out != nil && len(d.out) < 14 {
			t.Fatalf("answered %x with %x", frame, d.out)
		}
	}
	for _, verdict := range []string{verdictForwarded, verdictAnswered, verdictIgnored, verdictRefused} {
		if verdicts[verdict] == 0 {
			t.Errorf("no frame was %s: %v", verdict, verdicts)
		}
	}
}

func TestExtensionHeadersAreSkipped(t *testing.T) {
	options := []byte{60, 0, 1, 4, 0, 0, 0, 0, protoUDP, 0, 1, 4, 0, 0, 0, 0}
	var p packet
	if !parse(frame6(5, 0, append(options, 0x0f, 0xa0, 0x13, 0x88, 0, 8, 0, 0)), &p) {
		t.Fatal("not parsed")
	}
	if p.proto != protoUDP || p.sport != 4000 || p.dport != 5000 || p.vlan != 5 {
		t.Errorf("read %+v on VLAN %d", p.tuple, p.vlan)
	}
}

func TestFlowsEndWhenTheyAreIdle(t *testing.T) {
	built, flows := twoMembers(t), newFlowTable()
	one, two := built.enis["eni-one"], built.enis["eni-two"]
	start := time.Unix(0, 0)
	for _, proto := range []uint8{protoUDP, protoTCP} {
		p := packet{isIP: true, firstPart: true, tuple: tuple{proto, memberIP, peerIP, 1, 2}}
		if reason, _ := flows.admit(&p, one, two, start); reason != "" {
			t.Fatal(reason)
		}
	}
	// From now on nothing new may begin. Only existing flows pass.
	for _, e := range []*eni{one, two} {
		e.groups = []*securityGroupEntry{{ID: "sg", Enterprise: true}}
	}
	back := func(proto uint8, at time.Duration) string {
		p := packet{isIP: true, firstPart: true, tuple: tuple{proto, peerIP, memberIP, 2, 1}}
		reason, _ := flows.admit(&p, two, one, start.Add(at))
		return reason
	}
	flows.expire(start.Add(50 * time.Second))
	if got := back(protoUDP, 59*time.Second); got != "" {
		t.Errorf("UDP after 59 s: %s", got)
	}
	if got := back(protoUDP, 120*time.Second); got != reasonEgress {
		t.Errorf("UDP after another 61 s: %q", got)
	}
	if got := back(protoTCP, 900*time.Second); got != "" {
		t.Errorf("TCP after 900 s: %s", got)
	}
	if flows.expire(start.Add(2000 * time.Second)); flows.count() != 0 {
		t.Errorf("%d flows are left", flows.count())
	}
}

func BenchmarkForward(b *testing.B) {
	f := newForwarder(b)
	frame := frame4(1, protoUDP, make([]byte, 1400))
	for b.Loop() {
		var p packet
		f.decide("eni-trunk", frame, &p)
	}
}
