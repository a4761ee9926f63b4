"""Sockets: one port for WebSockets and HTTP, one epoll for all of them on Linux, a portable transport elsewhere."""
