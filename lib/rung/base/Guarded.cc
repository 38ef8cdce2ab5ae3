#include "rung/base/Guarded.h"

#include <cstdlib>
#include <exception>

#include "rung/base/Logging.h"

namespace rung {

void abortOnException(const std::string& what) noexcept {
  try {
    throw;
  } catch (const std::exception& e) {
    LOG_FATAL << "an exception left " << what << ": " << e.what();
  } catch (...) {
    LOG_FATAL << "an exception of no standard type left " << what;
  }
  std::abort();  // not reached; LOG_FATAL cannot be declared [[noreturn]]
}

}  // namespace rung
