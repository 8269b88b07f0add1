package smtpd

import "time"

// begin and finish enclose a transaction: a drain lets it finish.
func (c *conn) begin(id string) {
	c.id, c.entered = id, make(chan struct{})
	c.setBusy(true)
}

func (c *conn) finish() {
	c.id = ""
	c.setBusy(false)
}

func (c *conn) setBusy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// drain ends the connection as soon as it has no transaction, which may be at once.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.busy {
		c.wake()
	}
}

// cutOff ends the connection whatever it waits for.
func (c *conn) cutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	c.wake()
	_ = c.SetWriteDeadline(time.Now().Add(lastWords))
}

// wake makes a read that waits return; one that comes later asks armRead.
func (c *conn) wake() {
	c.readBy = time.Now()
	_ = c.Conn.SetReadDeadline(c.readBy)
}

func (c *conn) leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isLeaving()
}

func (c *conn) isLeaving() bool { return c.cut || c.draining && !c.busy }

// enterData reports whether Data may run; then leaveData must follow. go-smtp
// runs it in a goroutine that nobody waits for where a mail comes by BDAT, so we do.
func (c *conn) enterData() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.entered)
	if !c.over {
		c.data.Add(1)
	}
	return !c.over
}

func (c *conn) leaveData() { c.data.Done() }

// awaitData returns once the goroutine that go-smtp starts for a BDAT command
// has called Data. It looks up late whose Data that is and where the result
// goes: until then nothing may come that changes either, not even the end of
// the connection. A command that go-smtp refuses starts none, and its reply comes
// before go-smtp reads on.
func (c *conn) awaitData() {
	if c.bdat {
		c.bdat = false
		<-c.entered
	}
}

// noMoreData returns when no Data runs, and none will.
func (c *conn) noMoreData() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.data.Wait()
}
