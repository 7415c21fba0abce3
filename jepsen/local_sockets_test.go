package jepsen

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSocketOfAProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	inode, err := socketInode(c.LocalAddr(), c.RemoteAddr())
	require.NoError(t, err)
	assert.True(t, hasSocket(os.Getpid(), inode))
	assert.False(t, hasSocket(os.Getpid(), inode+"0"))
	assert.False(t, hasSocket(1<<30, inode), "there is no such process")
	_, err = socketInode(c.LocalAddr(), c.LocalAddr())
	require.ErrorContains(t, err, "no socket connects")
}
