#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

// What the linker makes of each function in meson.build's list of wrapped calls: __real_NAME is the
// C library's, and a call of NAME goes to __wrap_NAME.

extern "C" {

ssize_t __real_read(int fd, void* bytes, size_t size);
ssize_t __real_readv(int fd, const iovec* places, int count);
ssize_t __real_recv(int fd, void* bytes, size_t size, int flags);
ssize_t __real_write(int fd, const void* bytes, size_t size);
ssize_t __real_writev(int fd, const iovec* places, int count);
ssize_t __real_send(int fd, const void* bytes, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
int __real_accept4(int fd, sockaddr* address, socklen_t* length, int flags);
int __real_epoll_wait(int fd, epoll_event* events, int size, int timeout);
int __real_epoll_ctl(int fd, int operation, int target, epoll_event* event);
int __real_epoll_create1(int flags);
int __real_eventfd(unsigned value, int flags);
int __real_timerfd_create(int clock, int flags);
int __real_setsockopt(int fd, int level, int option, const void* value, socklen_t size);
int __real_open(const char* path, int flags, mode_t mode);
int __real_open64(const char* path, int flags, mode_t mode);

ssize_t __wrap_read(int fd, void* bytes, size_t size);
ssize_t __wrap_readv(int fd, const iovec* places, int count);
ssize_t __wrap_recv(int fd, void* bytes, size_t size, int flags);
ssize_t __wrap_write(int fd, const void* bytes, size_t size);
ssize_t __wrap_writev(int fd, const iovec* places, int count);
ssize_t __wrap_send(int fd, const void* bytes, size_t size, int flags);
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags);
int __wrap_accept4(int fd, sockaddr* address, socklen_t* length, int flags);
int __wrap_epoll_wait(int fd, epoll_event* events, int size, int timeout);
int __wrap_epoll_ctl(int fd, int operation, int target, epoll_event* event);
int __wrap_epoll_create1(int flags);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t size);
int __wrap_open(const char* path, int flags, mode_t mode);
int __wrap_open64(const char* path, int flags, mode_t mode);

}  // extern "C"
