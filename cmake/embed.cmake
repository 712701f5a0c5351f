# Puts the files of a folder into an object: their bytes by the assembler's .incbin, and a table
#   struct { const char* name; const std::byte *begin, *end; } SYMBOL_files[];  uint64_t SYMBOL_file_count;
# Configs, tokenizer, template and weights count, sorted by name; without the folder the table is empty.
function(nibble_embed target symbol folder)
  set(files)
  foreach(suffix json jinja safetensors)
    file(GLOB found CONFIGURE_DEPENDS ${folder}/*.${suffix})
    list(APPEND files ${found})
  endforeach()
  list(SORT files)
  set(data)
  set(table)
  set(count 0)
  foreach(file ${files})
    get_filename_component(name ${file} NAME)
    string(APPEND data "name_${count}: .asciz \"${name}\"\n.balign 64\nbegin_${count}: .incbin \"${file}\"\nend_${count}: .byte 0\n")
    string(APPEND table "  .quad name_${count}, begin_${count}, end_${count}\n")
    math(EXPR count "${count} + 1")
  endforeach()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/generated/${symbol}.S)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT "/* Written by cmake/embed.cmake from ${folder}. */
  .section .rodata
@data@
  .section .data.rel.ro, \"aw\"
  .balign 8
  .globl ${symbol}_files
${symbol}_files:
@table@  .quad 0, 0, 0
  .section .rodata
  .balign 8
  .globl ${symbol}_file_count
${symbol}_file_count:
  .quad @count@
  .section .note.GNU-stack, \"\", %progbits
")
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${files}")
  target_sources(${target} PRIVATE ${source})
endfunction()
