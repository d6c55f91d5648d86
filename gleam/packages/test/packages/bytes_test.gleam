//// gleam/bit_array and gleam/bytes_tree.

import gleam/bit_array
import gleam/bytes_tree
import gleam/order.{Gt}

pub fn bits_test() {
  assert bit_array.to_string(<<"ü":utf8>>) == Ok("ü")
  assert bit_array.to_string(<<255>>) == Error(Nil)
  assert bit_array.is_utf8(<<255>>) == False
  assert bit_array.byte_size(bit_array.from_string("ü")) == 2
  assert bit_array.bit_size(<<1:3>>) == 3
  assert bit_array.pad_to_bytes(<<1:3>>) == <<32>>
  assert bit_array.append(<<1>>, <<2>>) == bit_array.concat([<<1>>, <<2>>])
  assert bit_array.slice(<<1, 2, 3>>, at: 3, take: -2) == Ok(<<2, 3>>)
  assert bit_array.slice(<<1, 2, 3>>, at: 2, take: 2) == Error(Nil)
  assert bit_array.starts_with(<<1, 2>>, <<1>>)
  assert bit_array.compare(<<1, 2>>, <<1>>) == Gt
  assert bit_array.inspect(<<1, 5:3>>) == "<<1, 5:size(3)>>"
}

pub fn bits_as_text_test() {
  assert bit_array.base64_encode(<<255, 254>>, True) == "//4="
  assert bit_array.base64_url_encode(<<255, 254>>, False) == "__4"
  assert bit_array.base64_decode("//4=") == Ok(<<255, 254>>)
  assert bit_array.base64_url_decode("__4") == Ok(<<255, 254>>)
  assert bit_array.base64_decode("?") == Error(Nil)
  assert bit_array.base16_encode(<<255, 1>>) == "FF01"
  assert bit_array.base16_decode("ff01") == Ok(<<255, 1>>)
  assert bit_array.base16_decode("f") == Error(Nil)
}

pub fn trees_test() {
  let tree =
    bytes_tree.from_string("b")
    |> bytes_tree.append(<<"c":utf8>>)
    |> bytes_tree.prepend_string("a")
    |> bytes_tree.append_tree(bytes_tree.from_bit_array(<<1:1>>))
  assert bytes_tree.to_bit_array(tree) == <<"abc":utf8, 128>>
  assert bytes_tree.byte_size(tree) == 4
}
