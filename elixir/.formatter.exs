[
  inputs: ["mix.exs", ".formatter.exs", "{lib,test}/**/*.{ex,exs}", "../{examples,templates}/**/*.{ex,exs}"],
  line_length: 120
]
