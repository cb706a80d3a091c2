# SPDX-License-Identifier: MIT
# The agent: runs on the board during a session, and speaks the frames that FORMAT.md tells
# ("The agent's frames") over the binary sides of stdin and stdout. The build makes a C
# string of it, without comments and with one blank per level. The names d, I, g, h, e and p
# of the partition come from helpers.c. S is the largest payload; Z says to take deflate; T
# is how many ms the host may be silent.
import sys, micropython
from binascii import crc32 as C
def j(f):
    try:
        return f()
    except Exception:
        return 0
# What must be the same for a partition to be the one that it was.
def i():
    return repr((j(lambda:__import__('machine').unique_id()),sys.version,
     j(lambda:__import__('os').uname()[4]),I(1),j(lambda:len(d)),
     j(lambda:d.ioctl(4,0)),j(lambda:d.ioctl(5,0)))).encode()[:500]
def a(S,Z,T):
    f=sys.stdin.buffer.readinto
    w=sys.stdout.buffer.write
    H=bytearray(20)
    B=bytearray(S+4)
    X=memoryview(H)
    V=memoryview(B)
    if Z:
        from io import BytesIO
        from deflate import DeflateIO
        D=memoryview(bytearray(S))
    Y=j(lambda:__import__('time').sleep_ms)
    def U():
        u=__import__('select').poll()
        try:
            u.register(sys.stdin.buffer,1)
        except OSError:
            u.register(sys.stdin,1)
        return u
    U=T and j(U)
    def L(b,i):
        return int.from_bytes(b[i:i+4],'little')
    def K(n):
        return (n&0xffffffff).to_bytes(4,'little')
    # Some ports give fewer bytes than asked for.
    def R(m):
        while m:
            m=m[f(m)or 0:]
    def W(r,t=0,b=b''):
        h=b'\xa5'+bytes(H[1:4])+K(r)+K(t)+K(len(b))
        w(h+K(C(h)))
        if b:
            w(b)
            w(K(C(b)))
    # The last changes of flash: number of the frame, code, offset.
    l=[]
    k=z=0
    micropython.kbd_intr(-1)
    try:
        W(2,S,i())
        while 1:
            if U and not z and not U.poll(T):
                T=-1
                break
            R(X[:1])
            z=H[0]!=165
            # Between frames only a start byte counts; 32 times Ctrl-C ends the agent.
            if z:
                k=k+1 if H[0]==3 else 0
                if k>31:
                    break
                continue
            k=0
            R(X[1:])
            if C(X[:16])!=L(H,16):
                W(-1001)
                continue
            q=chr(H[1])
            s=H[2]|H[3]<<8
            o=L(H,4)
            n=L(H,8)
            x=L(H,12)
            # The payload is taken off the line before anything can fail.
            if q in 'PZLW':
                if q=='W'and Y:
                    Y(n)
                R(V[:min(x,S)+4])
                if x>S or C(V[:x])!=L(B,x):
                    W(-1002)
                    continue
            if q=='Q':
                W(0)
                break
            r=t=0
            b=b''
            try:
                if q in 'EPZ':
                    l=l[-3:]+[(s,-1003,0)]
                    if q=='E':
                        r,t=e(o,n)
                    elif q=='P':
                        r,t=p(o,V[:x])
                    else:
                        if DeflateIO(BytesIO(V[:x]),1,12).readinto(D[:n])!=n:
                            raise ValueError
                        r,t=p(o,D[:n])
                    l[-1]=s,r,t
                elif q=='N':
                    r=-1004
                    for y in l:
                        if y[0]==o:
                            _,r,t=y
                elif q=='W':
                    r=0 if Y else -1004
                else:
                    # Older numbers come again some day.
                    l=[]
                    if q=='R':
                        b=g(o,n)
                    elif q=='H':
                        b=b''.join(h(i,min(x,o+n-i))for i in range(o,o+n,x))
                    else:
                        b=b''.join(h(L(B,i),L(B,i+4))for i in range(0,x,8))
                W(r,t,b)
            except Exception as y:
                W(-1003,0,repr(y).encode()[:99])
    finally:
        micropython.kbd_intr(3)
    # Nobody else is there to start the board's program again.
    if T<0:
        __import__('machine').reset()
