package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// load posts every line of stdin once, in a closed loop over so many connections, as thin as it can be. It prints one JSON
// object: seconds, answers by status, each latency in microseconds, and the processor seconds that it took itself.
func load(arguments []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	address := flags.String("address", "", "host:port")
	path := flags.String("path", "/v1/authenticate", "of the POST")
	connections := flags.Int("connections", 64, "kept alive, one request at a time each")
	_ = flags.Parse(arguments)
	requests := readRequests(*path)
	var next atomic.Int64
	var all sync.WaitGroup
	latencies := make([]int64, len(requests))
	statuses := make([]int, len(requests))
	wires := make([]net.Conn, *connections)
	for at := range wires {
		wire, err := net.Dial("tcp", *address)
		if err != nil {
			log.Fatal(err)
		}
		wires[at] = wire
	}
	used := processorSeconds()
	started := time.Now()
	for _, wire := range wires {
		all.Add(1)
		go func() {
			defer all.Done()
			reader := bufio.NewReader(wire)
			for at := next.Add(1) - 1; at < int64(len(requests)); at = next.Add(1) - 1 {
				sent := time.Now()
				if _, err := wire.Write(requests[at]); err != nil {
					log.Fatal(err)
				}
				statuses[at] = readAnswer(reader)
				latencies[at] = time.Since(sent).Microseconds()
			}
		}()
	}
	all.Wait()
	seconds := time.Since(started).Seconds()
	byStatus := map[int]int{}
	for _, status := range statuses {
		byStatus[status]++
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds": seconds, "statuses": byStatus, "latencies": latencies, "cpu": processorSeconds() - used,
	})
}

func readRequests(path string) [][]byte {
	var requests [][]byte
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 1<<20), 1<<20)
	for lines.Scan() {
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
			path, len(lines.Bytes()))
		requests = append(requests, append([]byte(head), lines.Bytes()...))
	}
	return requests
}

// readAnswer reads one answer with a Content-Length, and returns its status.
func readAnswer(reader *bufio.Reader) int {
	status, length := 0, 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			log.Fatal(err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if status == 0 {
			status, _ = strconv.Atoi(string(line[9:12]))
		} else if len(line) == 0 {
			break
		} else if len(line) > 15 && bytes.EqualFold(line[:15], []byte("content-length:")) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[15:])))
		}
	}
	if _, err := reader.Discard(length); err != nil {
		log.Fatal(err)
	}
	return status
}

func processorSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
