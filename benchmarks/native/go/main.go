// The benchmark's work through nats.go, as a limit to compare with.
//
// Usage: NATS_URL=... native STREAM CONSUMER
//
// Each line of stdin asks for one round, "WORK COUNT FILE"; the answer is one line of JSON with the
// seconds it took and the processor time of this process. WORK is publish_many (pipelined), publish
// (one by one) or consume (read and ack; FILE is "-"). FILE has three lines for each message:
// subject, message id, data.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	window  = 4000 // messages published and not yet acknowledged
	ahead   = 500  // messages requested at once
	longest = 120 * time.Second
)

type message struct {
	subject, id string
	data        []byte
}

type client struct {
	connection       *nats.Conn
	js               jetstream.JetStream
	stream, consumer string
}

func main() {
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(stream, consumer string) error {
	connection, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	defer connection.Close()
	js, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(window))
	if err != nil {
		return err
	}
	c := &client{connection, js, stream, consumer}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		var work, file string
		var count int
		if _, err := fmt.Sscan(commands.Text(), &work, &count, &file); err != nil {
			return fmt.Errorf("%q: %w", commands.Text(), err)
		}
		if err := c.round(work, count, file); err != nil {
			return fmt.Errorf("%s: %w", work, err)
		}
	}
	return commands.Err()
}

func (c *client) round(work string, count int, file string) error {
	messages, err := load(file)
	if err != nil {
		return err
	}
	if file != "-" && len(messages) != count {
		return fmt.Errorf("%d messages in %s, not %d", len(messages), file, count)
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	runtime.GC()
	started, used := time.Now(), processorTime()
	switch work {
	case "publish_many":
		err = c.publishMany(ctx, messages)
	case "publish":
		err = c.publish(ctx, messages)
	case "consume":
		err = c.consume(ctx, count)
	default:
		err = fmt.Errorf("unknown work")
	}
	if err != nil {
		return err
	}
	took := map[string]float64{"seconds": time.Since(started).Seconds(), "cpu_seconds": processorTime() - used}
	return json.NewEncoder(os.Stdout).Encode(took)
}

func load(file string) ([]message, error) {
	if file == "-" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("%s does not have three lines for each message", file)
	}
	messages := make([]message, 0, len(lines)/3)
	for n := 0; n < len(lines); n += 3 {
		messages = append(messages, message{string(lines[n]), string(lines[n+1]), lines[n+2]})
	}
	return messages, nil
}

// processorTime returns the seconds that all threads of this process have used.
func processorTime() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func (m *message) wire() *nats.Msg {
	return &nats.Msg{Subject: m.subject, Data: m.data, Header: nats.Header{nats.MsgIdHdr: []string{m.id}}}
}

func stored(ack *jetstream.PubAck) error {
	if ack.Duplicate {
		return fmt.Errorf("sequence %d is a duplicate", ack.Sequence)
	}
	return nil
}

func (c *client) publishMany(ctx context.Context, messages []message) error {
	futures := make([]jetstream.PubAckFuture, 0, len(messages))
	for n := range messages {
		// The client's default is to fail after 200 ms of a full window.
		future, err := c.js.PublishMsgAsync(messages[n].wire(), jetstream.WithStallWait(longest))
		if err != nil {
			return err
		}
		futures = append(futures, future)
	}
	for _, future := range futures {
		select {
		case ack := <-future.Ok():
			if err := stored(ack); err != nil {
				return err
			}
		case err := <-future.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *client) publish(ctx context.Context, messages []message) error {
	for n := range messages {
		ack, err := c.js.PublishMsg(ctx, messages[n].wire())
		if err != nil {
			return err
		}
		if err := stored(ack); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) consume(ctx context.Context, count int) error {
	consumer, err := c.js.Consumer(ctx, c.stream, c.consumer)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(ahead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range count {
		next, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := next.Ack(); err != nil {
			return err
		}
	}
	return c.connection.FlushWithContext(ctx)
}
