"""The network between network namespaces, in which packets are lost or late as they are told to be.

    warp_chaos_switch.py NAMESPACE=ADDRESS...

Each namespace gets an interface with its address, whose packets come here: packets of IPv4, whole, since it is a TUN
device without offload. One goes to the namespace that has its destination, unless it is lost, and is put off as long
as the way takes. Says `ready', and then reads commands from standard input, one a line, and says `ok' after each:

    lose FROM TO            nothing gets from one namespace to the other any more
    find FROM TO            takes one `lose' back
    delay FROM TO MILLIS    it takes so long; 0: as long as it takes
    route OF TO             the address of one namespace is in the other from now on

It ends with its standard input, and the interfaces with it.
"""

import collections
import ctypes
import fcntl
import heapq
import os
import selectors
import socket
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)


def interface(name, address):
    """A TUN device in a namespace, as an open file. The process stays in the namespace."""
    with open(f"/run/netns/{name}") as namespace:
        if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"warp0", IFF_TUN_WITHOUT_HEADER))
    for command in (f"addr add {address}/24 dev warp0", "link set warp0 mtu 16000 up", "link set lo up"):
        subprocess.run(["ip", *command.split()], check=True)
    # Where the kernel has it: what was lost is sent again after a second at most, however often it was lost.
    subprocess.run(["sysctl", "-qw", "net.ipv4.tcp_rto_max_ms=1000"], check=False, stderr=subprocess.DEVNULL)
    return tun


class Switch:
    def __init__(self, ports):
        self.tuns = {name: interface(name, address) for name, address in ports}
        self.addresses = {name: socket.inet_aton(address) for name, address in ports}
        # Of namespaces with the same address the first one has it.
        self.routes = {address: name for name, address in reversed(self.addresses.items())}
        self.late, self.count = [], 0
        self.lost, self.delays = collections.Counter(), {}

    def command(self, line):
        match line.split():
            case ["lose", source, target]:
                self.lost[source, target] += 1
            case ["find", source, target]:
                self.lost[source, target] -= 1
            case ["delay", source, target, millis]:
                self.delays[source, target] = int(millis) / 1000
            case ["route", source, target]:
                self.routes[self.addresses[source]] = target
            case _:
                raise ValueError(line)

    def packet(self, source, packet):
        target = self.routes.get(packet[16:20])
        if packet[0] >> 4 != 4 or target is None or self.lost[source, target]:
            return
        delay = self.delays.get((source, target), 0)
        if delay:
            # Packets of the same moment stay in order.
            self.count += 1
            heapq.heappush(self.late, (time.monotonic() + delay, self.count, source, target, packet))
        else:
            self.send(target, packet)

    def send(self, target, packet):
        try:
            os.write(self.tuns[target], packet)
        except (BlockingIOError, OSError):
            pass  # As on any network.

    def due(self):
        """Sends what is due: how many seconds there are to the next."""
        while self.late:
            left = self.late[0][0] - time.monotonic()
            if left > 0:
                return left
            _, _, source, target, packet = heapq.heappop(self.late)
            if not self.lost[source, target]:
                self.send(target, packet)
        return None

    def run(self):
        selector = selectors.DefaultSelector()
        for name, tun in self.tuns.items():
            selector.register(tun, selectors.EVENT_READ, name)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        commands = b""
        print("ready", flush=True)
        while True:
            for key, _ in selector.select(self.due()):
                if key.data is not None:
                    self.packet(key.data, os.read(key.fd, 65536))
                    continue
                data = os.read(key.fd, 65536)
                if not data:
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    self.command(line.decode())
                    print("ok", flush=True)


Switch([tuple(argument.split("=")) for argument in sys.argv[1:]]).run()
