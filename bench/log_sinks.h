#pragma once

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>

#include "rung/base/AsyncLogging.h"
#include "rung/base/Logging.h"
#include "rung/base/Timestamp.h"

#ifdef BENCH_SPDLOG
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#endif

// Ways to log to files in a folder, all with the same interface:
//   Sink(folder)
//   line(i, x)   logs "request <i> took <x>" with time, thread, level, file and line number
//   drain()      returns when the kernel has all lines

namespace bench {

class RungSink {
 public:
  explicit RungSink(const std::string& folder) : log_({.file = {.baseName = folder + "/rung"}}) {
    log_.start();
    log_.attach();
  }
  void line(int i, double x) { LOG_INFO << "request " << i << " took " << x; }
  void drain() { log_.stop(); }

 private:
  rung::AsyncLogging log_;
};

/// What stage 01 does, but to a file: an ostringstream a line, and one fwrite of it. stdio's own
/// lock keeps the lines of two threads apart.
class OstringstreamSink {
 public:
  explicit OstringstreamSink(const std::string& folder)
      : file_(std::fopen((folder + "/ostringstream.log").c_str(), "we")) {
    if (file_ == nullptr) throw std::runtime_error("cannot open a file in " + folder);
  }
  OstringstreamSink(const OstringstreamSink&) = delete;
  OstringstreamSink& operator=(const OstringstreamSink&) = delete;
  ~OstringstreamSink() { (void)std::fclose(file_); }  // drain() has told of errors

  void line(int i, double x) {
    std::ostringstream stream;
    stream << rung::Timestamp::now().toString() << ' ' << gettid() << " INFO  "
           << "request " << i << " took " << x << " - log_sinks.h:" << __LINE__ << '\n';
    const std::string text = stream.str();
    (void)std::fwrite(text.data(), 1, text.size(), file_);  // what is lost will be counted
  }
  void drain() { (void)std::fflush(file_); }

 private:
  std::FILE* const file_;
};

#ifdef BENCH_SPDLOG
/// spdlog's asynchronous logger: one worker thread, its default queue, which blocks when it is
/// full.
class SpdlogSink {
 public:
  explicit SpdlogSink(const std::string& folder)
      : pool_(std::make_shared<spdlog::details::thread_pool>(spdlog::details::default_async_q_size,
                                                             1)),
        logger_(std::make_shared<spdlog::async_logger>(
            "bench", std::make_shared<spdlog::sinks::basic_file_sink_mt>(folder + "/spdlog.log"),
            pool_, spdlog::async_overflow_policy::block)) {
    logger_->set_pattern("%Y%m%d %H:%M:%S.%fZ %t %l  %v - %s:%#", spdlog::pattern_time_type::utc);
  }
  void line(int i, double x) { SPDLOG_LOGGER_INFO(logger_, "request {} took {}", i, x); }
  void drain() {
    logger_->flush();
    pool_.reset();  // the worker writes what is queued, and ends
  }

 private:
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<spdlog::async_logger> logger_;
};
#endif

}  // namespace bench
