# Writes generated/commit.h with the commit that is being built; the file is touched only when the commit changes, so
# that nothing is compiled again without need. Run at build time: cmake -DSOURCE=… -DOUTPUT=… -P commit.cmake
set(commit "unknown")
find_program(GIT git)
if(GIT)
  execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0)
    set(commit "${answer}")
  endif()
endif()
set(content "// Written by cmake/commit.cmake.\n#pragma once\n#define NIBBLE_COMMIT \"${commit}\"\n")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT old STREQUAL content)
  file(WRITE ${OUTPUT} "${content}")
endif()
