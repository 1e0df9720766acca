package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
)

// request is a line of standard input. Each gets exactly one response line with the same number.
type request struct {
	Op      string `json:"op"`
	Request int64  `json:"request"`
	// For "table".
	Generation int64         `json:"generation"`
	Table      *tableMessage `json:"table"`
	// For "capture" and "endCapture".
	Capture int64  `json:"capture"`
	Eni     string `json:"eni"`
	// refusal is the reason why a table was not applied.
	refusal error
}

type response struct {
	Type    string `json:"type"`
	Request int64  `json:"request"`
	Error   string `json:"error"`
}

type deviceEvent struct {
	Type     string `json:"type"`
	Eni      string `json:"eni"`
	Instance string `json:"instance"`
	Name     string `json:"name"`
	State    string `json:"state"`
	Error    string `json:"error"`
}

type countersResponse struct {
	Type       string                  `json:"type"`
	Request    int64                   `json:"request"`
	Generation int64                   `json:"generation"`
	Verdicts   map[string]int64        `json:"verdicts"`
	Refusals   map[string]int64        `json:"refusals"`
	Enis       map[string]*eniCounters `json:"enis"`
	Flows      int                     `json:"flows"`
	LostLines  int64                   `json:"lostLines"`
}

// vpcSwitch owns the devices. Everything but forwarding happens on the goroutine of runSwitch.
type vpcSwitch struct {
	forwarder
	// lost receives devices whose reader ended although they were not closed.
	lost chan *device
	// failed holds the error of each device that could not be created, so that it is reported once.
	failed map[string]string
}

func runSwitch(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	metadataAddress := flags.String("metadata-address", "", "ADDRESS:PORT of the metadata service in every VPC; empty for none")
	metadataBackend := flags.String("metadata-backend", "", "HOST:PORT of this machine that answers, with the PROXY protocol")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := &vpcSwitch{
		forwarder: forwarder{
			table: emptyTable(), devices: map[string]*device{}, flows: newFlowTable(), report: newReporter(out),
		},
		lost:   make(chan *device, 64),
		failed: map[string]string{},
	}
	if *metadataAddress != "" {
		address, err := netip.ParseAddrPort(*metadataAddress)
		if err != nil {
			return err
		}
		if s.metadata, err = newMetadataService(address, *metadataBackend); err != nil {
			return err
		}
		go s.metadata.run(s.metadataAnswered)
	}
	requests := make(chan request, 256)
	ended := make(chan error, 1)
	go func() { ended <- s.readRequests(in, requests) }()
	repeat, expiry := time.NewTicker(repeatEvery), time.NewTicker(expireEvery)
	for {
		select {
		case message := <-requests:
			s.handle(&message)
		case gone := <-s.lost:
			s.replace(gone)
		case now := <-repeat.C:
			s.report.tick(now)
		case now := <-expiry.C:
			s.flows.expire(now)
		case err := <-ended:
			return err
		}
	}
}

// readRequests reads each line and applies a table at once. Updating the devices takes longer, up to 30 ms for a device that goes,
// and no frame may be judged by an older table meanwhile.
func (s *vpcSwitch) readRequests(in io.Reader, requests chan<- request) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var message request
		if err := json.Unmarshal(line, &message); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		if message.Op == "table" {
			message.refusal = s.swap(&message)
			message.Table = nil
		}
		requests <- message
	}
}

// swap replaces the table. Afterwards no frame is judged by an older one.
func (s *vpcSwitch) swap(message *request) error {
	if message.Table == nil {
		return errors.New("no table")
	}
	next, err := buildTable(message.Generation, message.Table)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = next
	s.flows.revise(next)
	return nil
}

func (s *vpcSwitch) handle(message *request) {
	reply := response{Type: "response", Request: message.Request}
	switch message.Op {
	case "table":
		s.adjustDevices()
		if message.refusal != nil {
			reply.Error = message.refusal.Error()
		}
	case "capture":
		captures := append([]capture{}, *s.report.captures.Load()...)
		captures = append(captures, capture{message.Capture, message.Eni})
		s.report.captures.Store(&captures)
	case "endCapture":
		captures := []capture{}
		for _, c := range *s.report.captures.Load() {
			if c.id != message.Capture {
				captures = append(captures, c)
			}
		}
		s.report.captures.Store(&captures)
	case "counters":
		s.report.send(s.counters(message.Request))
		return
	default:
		reply.Error = fmt.Sprintf("unknown operation %q", message.Op)
	}
	s.report.send(reply)
}

func (s *vpcSwitch) current() *table {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.table
}

// adjustDevices makes the devices match the current table, which may be later than the requested one.
func (s *vpcSwitch) adjustDevices() {
	t := s.current()
	var leaving sync.WaitGroup
	for id, d := range s.devices {
		e := t.enis[id]
		if e == nil || !e.Plugged || e.Kind == "member" || e.mac != d.mac || t.nodes[e.InstanceID].NetnsPath != d.netnsPath {
			s.unplug(d, &leaving)
		}
	}
	leaving.Wait()
	for _, e := range t.order {
		s.plug(t, e)
	}
	for id := range s.failed {
		e := t.enis[id]
		if e == nil || t.nodes[e.InstanceID].NetnsPath == "" {
			delete(s.failed, id)
		}
	}
}

// plug creates the device of an ENI unless it exists.
func (s *vpcSwitch) plug(t *table, e *eni) {
	node, known := t.nodes[e.InstanceID]
	if !e.Plugged || e.Kind == "member" || !known || s.devices[e.ID] != nil {
		return
	}
	event := deviceEvent{Type: "device", Eni: e.ID, Instance: e.InstanceID}
	d, err := openDevice(t, e, node)
	if err != nil {
		event.State, event.Error = "failed", err.Error()
		if s.failed[e.ID] != event.Error {
			s.failed[e.ID] = event.Error
			s.report.send(event)
		}
		return
	}
	delete(s.failed, e.ID)
	s.mu.Lock()
	s.devices[e.ID] = d
	s.mu.Unlock()
	go func() {
		d.read(func(frame []byte) { s.received(d.eniID, frame) })
		if !d.closing.Load() {
			s.lost <- d
		}
	}()
	event.State, event.Name = "created", d.name
	s.report.send(event)
}

func (s *vpcSwitch) unplug(d *device, leaving *sync.WaitGroup) {
	s.mu.Lock()
	delete(s.devices, d.eniID)
	s.mu.Unlock()
	leaving.Go(func() {
		d.close()
		s.report.send(deviceEvent{Type: "device", Eni: d.eniID, Name: d.name, State: "removed"})
	})
}

// replace recreates a device that disappeared with a pod's network namespace. A real adapter returns to its node in the same way.
func (s *vpcSwitch) replace(gone *device) {
	if s.devices[gone.eniID] != gone {
		return
	}
	s.mu.Lock()
	delete(s.devices, gone.eniID)
	s.mu.Unlock()
	gone.close()
	s.report.send(deviceEvent{Type: "device", Eni: gone.eniID, Name: gone.name, State: "lost"})
	t := s.current()
	if e := t.enis[gone.eniID]; e != nil {
		s.plug(t, e)
	}
}

func (s *vpcSwitch) counters(number int64) countersResponse {
	r := s.report
	r.mu.Lock()
	defer r.mu.Unlock()
	result := countersResponse{
		Type: "counters", Request: number, Generation: s.current().generation, Flows: s.flows.count(),
		LostLines: r.lostFrames.Load(), Verdicts: map[string]int64{}, Refusals: map[string]int64{},
		Enis: map[string]*eniCounters{},
	}
	for name, count := range r.verdicts {
		result.Verdicts[name] = count
	}
	for name, count := range r.reasons {
		result.Refusals[name] = count
	}
	for id, c := range r.perEni {
		copied := *c
		result.Enis[id] = &copied
	}
	return result
}
