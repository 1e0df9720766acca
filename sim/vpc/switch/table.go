package main

import (
	"fmt"
	"net"
	"net/netip"
)

// The input on standard input. See table.ts, which documents every field.

type tableMessage struct {
	Nodes          []nodeEntry          `json:"nodes"`
	Vpcs           []vpcEntry           `json:"vpcs"`
	VSwitches      []vSwitchEntry       `json:"vSwitches"`
	SecurityGroups []securityGroupEntry `json:"securityGroups"`
	Enis           []eniEntry           `json:"enis"`
}

type nodeEntry struct {
	InstanceID       string `json:"instanceId"`
	NetnsPath        string `json:"netnsPath"`
	ConfigurePrimary bool   `json:"configurePrimary"`
}

type vpcEntry struct {
	ID    string         `json:"id"`
	Cidrs []netip.Prefix `json:"cidrs"`
}

type vSwitchEntry struct {
	ID       string         `json:"id"`
	VpcID    string         `json:"vpcId"`
	Cidrs    []netip.Prefix `json:"cidrs"`
	Gateways []netip.Addr   `json:"gateways"`
}

type securityGroupEntry struct {
	ID          string      `json:"id"`
	Enterprise  bool        `json:"enterprise"`
	InnerAccess bool        `json:"innerAccess"`
	Rules       []ruleEntry `json:"rules"`
}

type ruleEntry struct {
	ID          string         `json:"id"`
	Egress      bool           `json:"egress"`
	Drop        bool           `json:"drop"`
	Priority    int            `json:"priority"`
	Protocol    string         `json:"protocol"`
	Ports       *[2]uint16     `json:"ports"`
	SourcePorts *[2]uint16     `json:"sourcePorts"`
	RemoteCidrs []netip.Prefix `json:"remoteCidrs"`
	RemoteGroup string         `json:"remoteGroup"`
	LocalCidrs  []netip.Prefix `json:"localCidrs"`
}

type eniEntry struct {
	ID               string         `json:"id"`
	Kind             string         `json:"kind"`
	Attached         bool           `json:"attached"`
	Plugged          bool           `json:"plugged"`
	Status           string         `json:"status"`
	InstanceID       string         `json:"instanceId"`
	TrunkID          string         `json:"trunkId"`
	VlanID           uint16         `json:"vlanId"`
	Mac              string         `json:"mac"`
	VpcID            string         `json:"vpcId"`
	VSwitchID        string         `json:"vSwitchId"`
	Addresses        []netip.Addr   `json:"addresses"`
	Prefixes         []netip.Prefix `json:"prefixes"`
	SecurityGroupIDs []string       `json:"securityGroupIds"`
}

// eni is an entry with the data that the forwarding path needs.
type eni struct {
	eniEntry
	mac mac
	// deviceID is the ENI whose device carries the frames: the trunk for a member, otherwise the ENI itself.
	deviceID string
	vpc      *vpc
	groups   []*securityGroupEntry
}

// place changes when the ENI is attached elsewhere or again with another tag. Flows do not survive that.
func (e *eni) place() string {
	return fmt.Sprintf("%s %s %d %t", e.InstanceID, e.deviceID, e.VlanID, e.Attached)
}

func (e *eni) owns(address netip.Addr) bool {
	return e.vpc.owner(address) == e
}

func (e *eni) hasGroup(id string) bool {
	for _, group := range e.SecurityGroupIDs {
		if group == id {
			return true
		}
	}
	return false
}

type vpc struct {
	id       string
	cidrs    []netip.Prefix
	gateways map[netip.Addr]bool
	byAddr   map[netip.Addr]*eni
	byPrefix map[netip.Prefix]*eni
}

// Lengths of an ENI's prefixes.
const ipv4PrefixBits, ipv6PrefixBits = 28, 80

func (v *vpc) owner(address netip.Addr) *eni {
	if found := v.byAddr[address]; found != nil {
		return found
	}
	if len(v.byPrefix) == 0 {
		return nil
	}
	bits := ipv4PrefixBits
	if address.Is6() {
		bits = ipv6PrefixBits
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return nil
	}
	return v.byPrefix[prefix]
}

func (v *vpc) contains(address netip.Addr) bool {
	for _, cidr := range v.cidrs {
		if cidr.Contains(address) {
			return true
		}
	}
	return false
}

type memberKey struct {
	trunkID string
	vlanID  uint16
}

// table is one state of the cloud. It never changes after it is built.
type table struct {
	generation int64
	nodes      map[string]nodeEntry
	vSwitches  map[string]vSwitchEntry
	// order is the order of the message. Devices are created in this order.
	order   []*eni
	enis    map[string]*eni
	members map[memberKey]*eni
}

func emptyTable() *table {
	return &table{nodes: map[string]nodeEntry{}, enis: map[string]*eni{}, members: map[memberKey]*eni{}}
}

func buildTable(generation int64, message *tableMessage) (*table, error) {
	t := emptyTable()
	t.generation = generation
	t.vSwitches = map[string]vSwitchEntry{}
	vpcs := map[string]*vpc{}
	for _, entry := range message.Vpcs {
		vpcs[entry.ID] = &vpc{
			id: entry.ID, cidrs: entry.Cidrs, gateways: map[netip.Addr]bool{},
			byAddr: map[netip.Addr]*eni{}, byPrefix: map[netip.Prefix]*eni{},
		}
	}
	for _, entry := range message.VSwitches {
		t.vSwitches[entry.ID] = entry
		if v := vpcs[entry.VpcID]; v != nil {
			v.cidrs = append(v.cidrs, entry.Cidrs...)
			for _, gateway := range entry.Gateways {
				v.gateways[gateway] = true
			}
		}
	}
	for _, node := range message.Nodes {
		t.nodes[node.InstanceID] = node
	}
	groups := map[string]*securityGroupEntry{}
	for i := range message.SecurityGroups {
		groups[message.SecurityGroups[i].ID] = &message.SecurityGroups[i]
	}
	for _, entry := range message.Enis {
		e := &eni{eniEntry: entry, deviceID: entry.ID, vpc: vpcs[entry.VpcID]}
		if e.vpc == nil {
			return nil, fmt.Errorf("%s is in the unknown VPC %q", e.ID, e.VpcID)
		}
		address, err := net.ParseMAC(entry.Mac)
		if err != nil || len(address) != 6 {
			return nil, fmt.Errorf("%s has the malformed MAC address %q", e.ID, entry.Mac)
		}
		copy(e.mac[:], address)
		for _, id := range entry.SecurityGroupIDs {
			if group := groups[id]; group != nil {
				e.groups = append(e.groups, group)
			}
		}
		for _, a := range entry.Addresses {
			e.vpc.byAddr[a] = e
		}
		for _, prefix := range entry.Prefixes {
			e.vpc.byPrefix[prefix] = e
		}
		if entry.Kind == "member" {
			e.deviceID = entry.TrunkID
			t.members[memberKey{entry.TrunkID, entry.VlanID}] = e
		}
		t.order = append(t.order, e)
		t.enis[e.ID] = e
	}
	return t, nil
}
