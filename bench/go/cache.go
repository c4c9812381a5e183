package main

import (
	"container/list"
	"sync"
	"time"
)

// cache is bounded; each entry has its own end, and the least recently used one goes first.
type cache[K comparable, V any] struct {
	lock    sync.Mutex
	most    int
	entries map[K]*list.Element
	order   *list.List
}

type entry[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

func newCache[K comparable, V any](most int) *cache[K, V] {
	return &cache[K, V]{most: most, entries: map[K]*list.Element{}, order: list.New()}
}

func (c *cache[K, V]) get(key K) (V, bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	var none V
	element, ok := c.entries[key]
	if !ok {
		return none, false
	}
	found := element.Value.(*entry[K, V])
	if time.Now().After(found.expires) {
		c.order.Remove(element)
		delete(c.entries, key)
		return none, false
	}
	c.order.MoveToFront(element)
	return found.value, true
}

func (c *cache[K, V]) put(key K, value V, expires time.Time) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if element, ok := c.entries[key]; ok {
		element.Value = &entry[K, V]{key, value, expires}
		return
	}
	c.entries[key] = c.order.PushFront(&entry[K, V]{key, value, expires})
	if oldest := c.order.Back(); len(c.entries) > c.most && oldest != nil {
		c.order.Remove(oldest)
		delete(c.entries, oldest.Value.(*entry[K, V]).key)
	}
}
