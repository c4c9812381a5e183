package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
)

var (
	secondsBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	skewBuckets    = []float64{-900, -600, -300, -120, -60, -30, -10, -5, -1, 0, 1, 5, 10, 30, 60, 120, 300}
)

type histogram struct {
	lock   sync.Mutex
	counts [18]uint64
	sum    float64
}

func (h *histogram) observe(buckets []float64, value float64) {
	at := 0
	for at < len(buckets) && value > buckets[at] {
		at++
	}
	h.lock.Lock()
	h.counts[at]++
	h.sum += value
	h.lock.Unlock()
}

type upstreamMetrics struct {
	ok, failed atomic.Uint64
	seconds    histogram
}

type metrics struct {
	inFlight  atomic.Int64
	decisions sync.Map // outcome and reason to its counter
	lookups   sync.Map // cache and result likewise
	seconds   histogram
	skew      histogram
	sts, iam  upstreamMetrics
}

func count(in *sync.Map, labels string) {
	counter, ok := in.Load(labels)
	if !ok {
		counter, _ = in.LoadOrStore(labels, new(atomic.Uint64))
	}
	counter.(*atomic.Uint64).Add(1)
}

func (m *metrics) decided(trail *Trail, seconds float64) {
	reason := "none"
	if trail.Reason != nil {
		reason = *trail.Reason
	}
	count(&m.decisions, `outcome="`+trail.Outcome+`",reason="`+reason+`"`)
	count(&m.lookups, `cache="identity",result="`+trail.STS.Cache+`"`)
	count(&m.lookups, `cache="role",result="`+trail.IAM.Cache+`"`)
	m.seconds.observe(secondsBuckets, seconds)
	if trail.Skew != nil {
		m.skew.observe(skewBuckets, *trail.Skew)
	}
}

func (m *metrics) asked(upstream *upstreamMetrics, refusal *Refusal, seconds float64) {
	if refusal == nil {
		upstream.ok.Add(1)
	} else {
		upstream.failed.Add(1)
	}
	upstream.seconds.observe(secondsBuckets, seconds)
}

func (m *metrics) expose(w http.ResponseWriter, _ *http.Request) {
	show := func(name string) func(labels, counter any) bool {
		return func(labels, counter any) bool {
			fmt.Fprintf(w, "%s{%s} %d\n", name, labels, counter.(*atomic.Uint64).Load())
			return true
		}
	}
	m.decisions.Range(show("decisions_total"))
	m.lookups.Range(show("cache_requests_total"))
	fmt.Fprintf(w, "in_flight_decisions %d\n", m.inFlight.Load())
	fmt.Fprintf(w, "upstream_calls_total{upstream=\"sts\",outcome=\"ok\"} %d\n", m.sts.ok.Load())
	fmt.Fprintf(w, "upstream_calls_total{upstream=\"iam\",outcome=\"ok\"} %d\n", m.iam.ok.Load())
	shown := map[string]*histogram{
		"decision_seconds": &m.seconds, "sts_seconds": &m.sts.seconds, "iam_seconds": &m.iam.seconds, "skew": &m.skew,
	}
	for name, histogram := range shown {
		histogram.lock.Lock()
		fmt.Fprintf(w, "%s_counts %v\n%s_sum %g\n", name, histogram.counts, name, histogram.sum)
		histogram.lock.Unlock()
	}
}
